//! Quotes texts for a shell: for commands that users copy, and for scripts that rvc-run writes.

/// Characters without a special meaning in any shell, anywhere in a word.
const PLAIN: &str = "_-./,:@+%";

/// `text` as one word of a POSIX shell: unchanged if it has no special characters, else in single quotes.
pub fn quote(text: &str) -> String {
    // In the word of a flag; elsewhere it may begin an assignment, or in zsh the name of a command.
    let plain = |c: char| c.is_alphanumeric() || PLAIN.contains(c) || (c == '=' && text.starts_with('-'));
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The words of a command line in one line, each quoted where it must be.
pub fn line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_as_they_are_and_others_are_quoted() {
        let words = [
            "anna",
            "--epochs=-1",
            "models/anna_e200.pth",
            "élan",
            "安娜",
            "a b",
            "it's",
            "$HOME",
            "",
            "~",
            "*",
            "a=b",
            "#x",
        ];
        assert_eq!(
            line(words),
            r"anna --epochs=-1 models/anna_e200.pth élan 安娜 'a b' 'it'\''s' '$HOME' '' '~' '*' 'a=b' '#x'"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_gives_back_what_was_quoted() {
        for hostile in [
            "",
            "'",
            "''\\''",
            "$(touch x) `id` $HOME",
            "a\nb",
            "--version",
            "\"",
            "\\",
            "*",
            "!x; exit 1 #",
            "é \t",
            "~",
            "~root",
            "a=b",
            "{a,b}",
            "אבג",
            "e\u{301}",
            "🎤 x",
            "\u{a0}",
            "-x",
            "%1",
            "=ls",
            "[a]",
            "a&b",
            "<in",
            "|cat",
        ] {
            let command = format!("printf %s {}", quote(hostile));
            let output = std::process::Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), hostile);
        }
    }
}
