//! Links: read from a list, and checked before a program gets them.

use crate::files;
use crate::{Error, Kind, Result};
use std::path::Path;

/// Longest link; real addresses are shorter.
pub const MAX_LINK: usize = 4096;

/// The links in a file, one per line; empty lines are skipped, and a `#` at the beginning of a line or after a space starts a
/// comment.
///
/// Errors: `file.not_found`, `file.read`; `data.damaged` if it is not text; `data.empty` if it has no link.
pub fn read_links(path: &Path) -> Result<Vec<String>> {
    // Links are ASCII; only comments have other characters, in any code page.
    let (text, _) = files::read_foreign(path, |_| 1.0)?;
    let lines = text.lines().map(|line| {
        let comment = line
            .char_indices()
            .find(|(at, c)| *c == '#' && line[..*at].chars().next_back().is_none_or(char::is_whitespace));
        line[..comment.map_or(line.len(), |(at, _)| at)].trim()
    });
    let links: Vec<String> = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if links.is_empty() {
        return Err(Error::new(Kind::DataEmpty, format!("there is no link in {}", path.display()))
            .path(path)
            .hint("write one http or https link per line"));
    }
    Ok(links)
}

/// Whether a link may go to yt-dlp; if not, why.
///
/// Addresses of this machine and of the local network are allowed: the user, not a site, names them.
pub fn check_link(link: &str) -> std::result::Result<(), String> {
    if link.len() > MAX_LINK {
        return Err(format!("it has {} bytes, but may have at most {MAX_LINK}", link.len()));
    }
    if let Some(bad) = link.chars().find(|c| c.is_whitespace() || c.is_control() || *c == '\\') {
        return Err(format!("it contains {bad:?}"));
    }
    let scheme = link.get(..8).filter(|s| s.eq_ignore_ascii_case("https://"));
    let scheme = scheme.or_else(|| link.get(..7).filter(|s| s.eq_ignore_ascii_case("http://")));
    let Some(scheme) = scheme else { return Err("it is not an http or https link".to_owned()) };
    let rest = &link[scheme.len()..];
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        // They would end up in lists and reports.
        return Err("it contains a user name".to_owned());
    }
    // After a badly written name and password: what looks like host or port is part of them.
    let quoted = |what: &str| if rest.contains('@') { String::new() } else { format!(" {what:?}") };
    // An address in brackets has colons of its own.
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let is_host = |c: char| c.is_alphanumeric() || "-._~%:".contains(c);
    if host.is_empty() || host.starts_with(['-', '.']) || !host.chars().all(is_host) {
        return Err(format!("its host{} is not valid", quoted(host)));
    }
    if !port.is_empty() && port.parse::<u16>().is_err() {
        return Err(format!("its port{} is not valid", quoted(port)));
    }
    // yt-dlp passes its own instructions to itself this way.
    if link.contains("__youtubedl_smuggle") {
        return Err("it contains instructions for yt-dlp".to_owned());
    }
    Ok(())
}
