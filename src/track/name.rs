//! The names of a run: the id for its file, the title for people.
//!
//! ```text
//! id      20261122-213011-042-anna-9f3c    its file: UTC, so that names sort by start; the digits part two starts in one millisecond
//! title   anna 2026-11-22 22:30            for people: voice first, in local time; stored in the start line
//! ```

use crate::files::{self, Workspace};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

/// Bytes of a log that are read for its start line, which holds only settings.
const MOST_OF_A_START: u64 = 4 << 20;

/// The id of a run that starts now.
pub(super) fn new_id(name: &str) -> String {
    let now = Timestamp::now();
    let unique = files::digest(format!("{name} {} {now:?} {:?}", std::process::id(), Instant::now()));
    format!("{}-{:03}-{name}-{}", now.strftime("%Y%m%d-%H%M%S"), now.subsec_millisecond(), &unique[..4])
}

/// The start of a run; None for a name that is not an id.
fn began(id: &str) -> Option<Timestamp> {
    let (date, rest) = id.split_at_checked("20261122-213011".len())?;
    let time = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", date).ok()?;
    let ms: i64 = rest.get(1..4)?.parse().ok()?;
    let whole = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Timestamp::from_millisecond(whole + ms).ok()
}

/// The start of a run in Unix seconds, to the millisecond; now for a name that is not an id.
pub(super) fn started(id: &str) -> f64 {
    began(id).unwrap_or_else(Timestamp::now).as_millisecond() as f64 / 1000.0
}

/// The name, usually the voice, of the run `id`; None for a name that is not an id.
pub fn name_of(id: &str) -> Option<&str> {
    let (_, rest) = id.split_at_checked("20261122-213011-042-".len())?;
    rest.rsplit_once('-').map(|(name, _)| name)
}

/// The title of a new run: name and minute; if another run has the same name and minute, also the second and the
/// digits of its id.
pub(super) fn new_title(id: &str, others: &[String], zone: &TimeZone) -> String {
    let minute = minute(id, zone);
    let same = |other: &&String| *other != id && name_of(other) == name_of(id) && self::minute(other, zone) == minute;
    if others.iter().any(|other| same(&other)) {
        return derived(id, zone);
    }
    match (name_of(id), minute) {
        (Some(name), Some(minute)) => format!("{name} {minute}"),
        _ => id.to_owned(),
    }
}

fn minute(id: &str, zone: &TimeZone) -> Option<String> {
    Some(began(id)?.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string())
}

/// A unique title, made only from the id.
fn derived(id: &str, zone: &TimeZone) -> String {
    let (Some(began), Some(name), Some((_, digits))) = (began(id), name_of(id), id.rsplit_once('-')) else {
        return id.to_owned();
    };
    format!("{name} {} {digits}", began.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S"))
}

/// The title in the start line `start`; runs of older versions have none there.
pub fn title(id: &str, start: &Value) -> String {
    start["title"].as_str().map_or_else(|| derived(id, &TimeZone::system()), str::to_owned)
}

/// The title of a run, from its file.
pub fn title_of(workspace: &Workspace, id: &str) -> String {
    let first_line = || {
        let mut line = Vec::new();
        let file = File::open(super::log_path(workspace, id)).ok()?;
        BufReader::new(file.take(MOST_OF_A_START)).read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice(&line).ok()
    };
    title(id, &first_line().unwrap_or_default())
}

/// A folder name from a run's title: without colons in the time, which Windows does not allow. The id if another program made the
/// title.
pub(super) fn folder_name(id: &str, title: &str) -> String {
    let ours = |rest: &&str| rest.chars().all(|c| c.is_ascii_alphanumeric() || " -:".contains(c));
    match name_of(id).and_then(|name| Some((name, title.strip_prefix(name).filter(ours)?))) {
        Some((name, rest)) => format!("{name}{}", rest.replace(':', ".")),
        None => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "20261122-213011-042-anna-9f3c";

    fn in_tokyo(id: &str, others: &[&str]) -> String {
        let zone = TimeZone::fixed(jiff::tz::offset(9));
        new_title(id, &others.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), &zone)
    }

    #[test]
    fn a_title_has_the_voice_first_and_local_time() {
        assert_eq!(in_tokyo(ID, &[ID]), "anna 2026-11-23 06:30");
        assert_eq!(in_tokyo("20261122-213011-042-安娜 two-b-9f3c", &[]), "安娜 two-b 2026-11-23 06:30");
    }

    #[test]
    fn two_runs_of_the_same_minute_are_distinct() {
        let second = "20261122-213059-999-anna-0001";
        assert_eq!(in_tokyo(second, &[ID, second]), "anna 2026-11-23 06:30:59 0001");
        for other in ["20261122-213111-042-anna-9f3c", "20261122-213011-042-ben-9f3c", "notes", "日本語日本語日本語"]
        {
            assert_eq!(in_tokyo(ID, &[other]), "anna 2026-11-23 06:30", "{other}");
        }
    }

    #[test]
    fn a_name_that_is_not_an_id_is_kept() {
        for odd in
            ["", "one", "20269922-213011-042-anna-9f3c", "日本語日本語日本語-x-y", "20261122-213011-0é2-anna-9f3c"]
        {
            assert_eq!(in_tokyo(odd, &[]), odd);
            assert_eq!(title(odd, &Value::Null), odd);
        }
    }

    #[test]
    fn folders_of_titles_are_safe_and_distinct() {
        assert_eq!(folder_name(ID, "anna 2026-11-23 06:30"), "anna 2026-11-23 06.30");
        assert_eq!(folder_name("20261122-213011-042-x:y-9f3c", "x:y 2026-11-23 06:30"), "x:y 2026-11-23 06.30");
        for foreign in ["..", "../../x", "anna/../..", "anna\\x", "ben 2026", "anna \u{7}", ""] {
            assert_eq!(folder_name(ID, foreign), ID, "{foreign:?}");
        }
    }
}
