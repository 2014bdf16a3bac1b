//! Tables for people, and durations as people type them.

use unicode_width::UnicodeWidthStr;

/// Most columns of a text that is meant to be read; a terminal shows wider lines broken.
const PAGE: usize = 100;
/// Minimum width of a sheet's last column.
const NARROWEST: usize = 30;

/// The lines of a table: head, rule, rows; columns as wide as their longest entry, two blanks apart. Characters that would break a line or control a
/// terminal are escaped.
pub fn table(head: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let plain = |cell: &String| cell.chars().flat_map(escaped).collect::<String>();
    let head: Vec<String> = head.iter().map(plain).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
    let columns = rows.iter().map(Vec::len).chain([head.len()]).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in std::iter::once(&head).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |row: &[String]| {
        let pad =
            |(cell, width): (&String, &usize)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())));
        let cells: Vec<String> = row.iter().zip(&widths).map(pad).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    [line(&head), rule.join("  ")].into_iter().chain(rows.iter().map(|row| line(row))).collect()
}

/// A character as it is shown.
fn escaped(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

/// The lines of a table as in [`table`], but no wider than a page. The last column continues on the lines below if it is too long.
pub fn sheet(head: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).chain([head.len()]).max().unwrap_or(0).max(1);
    let before = |row: &[String]| row.iter().take(columns - 1).map(|cell| cell.chars().count()).collect::<Vec<_>>();
    let mut widths = vec![0; columns - 1];
    for row in std::iter::once(head).chain(rows.iter().map(Vec::as_slice)) {
        for (width, own) in widths.iter_mut().zip(before(row)) {
            *width = own.max(*width);
        }
    }
    let taken: usize = widths.iter().map(|width| width + 2).sum();
    let room = PAGE.saturating_sub(taken).max(NARROWEST);
    let mut broken = Vec::new();
    for row in rows {
        let mut lines = wrapped(row.get(columns - 1).map_or("", String::as_str), room).into_iter();
        let mut first: Vec<String> = row.iter().take(columns - 1).cloned().collect();
        first.resize(columns - 1, String::new());
        first.extend(lines.next());
        broken.push(first);
        broken.extend(lines.map(|line| vec![String::new(); columns - 1].into_iter().chain([line]).collect()));
    }
    table(head, &broken)
}

/// Text in lines of at most `room` characters, broken at blanks if possible.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let length = word.iter().collect::<String>().trim_end().chars().count();
        if used > 0 && used + length > room {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > room {
            let rest = word.split_off(room);
            lines.last_mut().expect("there is a line").extend(word);
            word = rest;
            if word != [' '] {
                lines.push(String::new());
            }
            used = 0;
        }
        used += word.len();
        lines.last_mut().expect("there is a line").extend(word);
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The seconds of "90s", "30m", "2h", "1h30m"; a bare number is seconds. None for anything else, and for more than a float holds.
pub fn seconds(text: &str) -> Option<f64> {
    let mut rest = text.trim();
    let mut sum = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        let mut chars = rest[end..].chars();
        sum += number
            * match chars.next() {
                None | Some('s') => 1.0,
                Some('m') => 60.0,
                Some('h') => 3600.0,
                Some('d') => 86400.0,
                Some(_) => return None,
            };
        rest = chars.as_str();
    }
    sum.is_finite().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_no_wider_than_a_page_and_loses_nothing() {
        let cells = |row: &[&str]| row.iter().map(ToString::to_string).collect::<Vec<_>>();
        let words = "some words ".repeat(40);
        let long = "f".repeat(560);
        let rows =
            [cells(&["short", "value"]), cells(&["long", words.trim()]), cells(&["hash", &long]), cells(&["none"])];
        let lines = sheet(&cells(&["what", "value"]), &rows);
        assert!(lines.iter().all(|line| line.chars().count() <= PAGE), "{lines:#?}");
        assert_eq!(lines[1], format!("-----  {}", "-".repeat(93)));
        let text = lines.join("");
        assert_eq!((text.matches("some").count(), text.matches('f').count()), (40, 560));
        assert_eq!(lines.last().unwrap(), "none");
        assert_eq!(sheet(&cells(&["a", "b"]), &[cells(&["1", "2"])]), ["a  b", "-  -", "1  2"]);
    }

    #[test]
    fn table_columns_are_as_wide_as_their_longest_entry() {
        let cells = |row: &[&str]| row.iter().map(ToString::to_string).collect::<Vec<_>>();
        let lines = table(&cells(&["voice", "result"]), &[cells(&["anna-maria", "trained"]), cells(&["ben"])]);
        assert_eq!(lines, ["voice       result", "----------  -------", "anna-maria  trained", "ben"]);
    }

    #[test]
    fn wide_characters_take_two_columns_and_control_characters_are_escaped() {
        let cells = |row: &[&str]| row.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rows =
            [cells(&["安娜", "x"]), cells(&["e\u{301}", "x"]), cells(&["a\nb", "x"]), cells(&["\u{1b}[2J", "x"])];
        let lines = table(&cells(&["voice", "y"]), &rows);
        assert_eq!(lines[2..], ["安娜       x", "e\u{301}          x", "a\\nb       x", "\\u{1b}[2J  x"]);
    }
}
