//! Removes passwords from addresses before they are shown: printed text ends up in logs, records and reports.

use std::borrow::Cow;

/// `text` without the name and the password of any address in it: `http://***@host/a` for `http://anna:secret@host/a`. A text that
/// begins with an address counts as one as a whole, so that a password with a space in it is removed too.
///
/// Unchanged: an `@` after the host (`https://site/@channel`), an e-mail address, a path. A word without a scheme
/// counts as an address if a colon comes before the `@`.
pub fn without_password(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    if is_address(text) {
        return masked(text).map_or(Cow::Borrowed(text), Cow::Owned);
    }
    let words = text.split_inclusive([' ', '\t', '\n', '\r', '"']);
    Cow::Owned(words.map(|word| masked(word).unwrap_or_else(|| word.to_owned())).collect())
}

fn is_address(text: &str) -> bool {
    let is_scheme =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    text.starts_with("//") || text.split_once("://").is_some_and(|(name, _)| is_scheme(name))
}

/// A word that ends with an address, without its name and password; None if there is nothing to remove.
fn masked(word: &str) -> Option<String> {
    let begin = match word.find("://") {
        Some(at) => at + 3,
        None if word.starts_with("//") => 2,
        None => 0,
    };
    let rest = &word[begin..];
    let end = rest.rfind('@')?;
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let has_name = match authority.rsplit_once('@') {
        Some((name, _)) => begin > 0 || name.contains(':'),
        // A password with a slash looks like a port and a path; one of only digits looks like a port. A single letter
        // before the colon is a drive.
        None => authority.split_once(':').is_some_and(|(_, port)| !authority.starts_with('[') && !is_port(port)),
    };
    has_name.then(|| format!("{}***{}", &word[..begin], &rest[end..]))
}

fn is_port(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_name_and_a_password_are_left_out_wherever_the_address_breaks_off() {
        for (typed, shown) in [
            ("http://anna:secret@host/a.wav", "http://***@host/a.wav"),
            ("HTTPS://secret@host", "HTTPS://***@host"),
            ("//anna:secret@host", "//***@host"),
            ("http://anna:secret/x@host/a", "http://***@host/a"),
            ("http://anna:secret#@host/a", "http://***@host/a"),
            ("http://anna:se//cret@host/a", "http://***@host/a"),
            ("http://secret@@host/a", "http://***@host/a"),
            ("http://anna: secret@host/a", "http://***@host/a"),
            ("http://anna:secret@[::1]:80/a", "http://***@[::1]:80/a"),
            ("anna:secret@host/a", "***@host/a"),
            ("socks5://anna:secret@:9", "socks5://***@:9"),
            ("cannot read \"http://anna:secret@host/a\" now", "cannot read \"http://***@host/a\" now"),
            ("--uri=https://anna:se=cr'et@host http://x/", "--uri=https://***@host http://x/"),
        ] {
            assert_eq!(without_password(typed), shown, "{typed}");
        }
    }

    #[test]
    fn what_has_no_password_is_shown_as_it_is() {
        for text in [
            "https://www.youtube.com/@channel/videos",
            "http://host:8080/a@b",
            "http://[::1]:80/@a",
            "mail anna@example.com",
            "logs/a:b@c.wav",
            r"C:\a@b.wav",
            "anna",
            "",
        ] {
            assert_eq!(without_password(text), text);
        }
    }
}
