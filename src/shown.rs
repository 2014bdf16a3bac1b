//! Foreign text made safe to show: text from a file, a name or a server must not move the cursor, colour the screen, rename a window or
//! change the direction of writing. Also numbers with the word for what they count.

use std::borrow::Cow;

/// `text` on one line: every control character, line breaks included, and every mark that turns the direction of writing is escaped, as Rust
/// writes it ("\u{1b}[31m").
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmful)
}

/// As [`line`], but line breaks and tabs stay: for messages that have several lines of their own.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_harmful(c) && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `text` in one line of at most `most` characters, with single spaces for control characters and runs of spaces: another program's message, a
/// title.
pub fn plain(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(most).collect()
}

/// "1 clip", "2 clips", "0 clips".
pub fn counted(n: impl std::fmt::Display, what: &str) -> String {
    let n = n.to_string();
    if n == "1" { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn is_harmful(c: char) -> bool {
    // Embeddings and overrides, isolates: Unicode's bidirectional controls that have an end of their own.
    c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_the_rest_stays() {
        for (text, shown) in [
            ("Anna, calm: ä 漢字 🎤 שלום", "Anna, calm: ä 漢字 🎤 שלום"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{1b}]0;pwned\u{7}", "\\u{1b}]0;pwned\\u{7}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\r\nline2\tb", "a\\r\\nline2\\tb"),
            ("\u{8}\u{7f}", "\\u{8}\\u{7f}"),
            ("txt.\u{202e}htp.\u{2066}x", "txt.\\u{202e}htp.\\u{2066}x"),
        ] {
            assert_eq!(line(text), shown);
        }
        assert!(matches!(line("plain"), Cow::Borrowed(_)));
        assert_eq!(lines("a\n\tb\r\u{202e}c"), "a\n\tb\\r\\u{202e}c");
    }

    #[test]
    fn one_is_counted_as_one() {
        assert_eq!([0, 1, 11].map(|n| counted(n, "clip")), ["0 clips", "1 clip", "11 clips"]);
    }
}
