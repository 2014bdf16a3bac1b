//! The content of the page that compares runs.

use super::curves::{self, Axis, Chart, Clock, MOST_POINTS, Series};
use super::page::{self, LOSSES, SELF_TEST, Status, best, device, epochs, last, params, progress, status, tags, voice};
use super::sounds::{self, Players, events};
use super::text;
use super::{Cell, Column, Table};
use crate::files::Workspace;
use crate::track::{self, Record};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Most points of all curves of a chart together, so that a page of a few dozen runs still opens at once.
const MOST_POINTS_OF_ALL: usize = 9000;
/// Least points of a curve, for any number of runs.
const LEAST_POINTS: usize = 150;

/// Most columns of values in a table: more do not fit the width of a laptop's screen.
const MOST_COLUMNS: usize = 8;

/// Mark after the name of a value that cannot be compared.
const UNLIKE: &str = "≠";

/// The data of compare.html.
#[derive(Debug, Serialize)]
pub struct Page {
    title: String,
    made: String,
    runs: Vec<Run>,
    /// One row for each run, the best of a column strong.
    results: Vec<Part>,
    /// Why some of the numbers cannot be compared.
    unlike: Vec<String>,
    players: Players,
    changes: Table,
    charts: Vec<Chart>,
    data: String,
    differences: Vec<Table>,
    same: Table,
    environment: Vec<Table>,
    notes: Vec<String>,
}

/// Results of one kind, few enough for the width of a page.
#[derive(Debug, Serialize)]
struct Part {
    title: &'static str,
    table: Table,
}

#[derive(Debug, Serialize)]
struct Run {
    letter: String,
    colour: usize,
    title: String,
    id: String,
    status: Status,
}

/// Which value of a column is best.
#[derive(Clone, Copy)]
enum Better {
    Lower,
    Higher,
    NearestToZero,
    /// None: it says nothing about the voice.
    Neither,
}

impl Page {
    /// `now`: Unix seconds.
    pub fn new(workspace: &Workspace, records: &[(String, Record)], now: f64) -> Self {
        let letters: Vec<String> = (0..records.len()).map(letter).collect();
        let runs = records.iter().zip(&letters).enumerate().map(|(i, ((id, record), letter))| Run {
            letter: letter.clone(),
            colour: i % 8,
            title: track::title(id, &record.start),
            id: id.clone(),
            status: status(record, now),
        });
        let unlike = Unlike::of(records, &letters);
        let charts = charts(records, &letters, &unlike);
        let (differences, same) = settings(records, &letters);
        let mut notes = Vec::new();
        for ((_, record), letter) in records.iter().zip(&letters) {
            notes.extend(record.damage().map(|damage| format!("The log of {letter}: {damage}.")));
        }
        Self {
            title: format!("{} runs", records.len()),
            made: text::time(now),
            runs: runs.collect(),
            results: results(records, &letters, &unlike),
            unlike: unlike.reasons(),
            players: sounds::players(
                workspace,
                &records.iter().map(|(_, record)| record).collect::<Vec<_>>(),
                &letters,
            ),
            changes: changes(records, &letters),
            data: curves::data(&charts.iter().map(|chart| (chart, Axis::Step)).collect::<Vec<_>>(), &[]),
            charts,
            differences,
            same,
            environment: environment(records, &letters),
            notes,
        }
    }
}

/// A, B, ... Z, A2, B2, ...
fn letter(i: usize) -> String {
    let letter = char::from(b'A' + (i % 26) as u8);
    if i < 26 { letter.to_string() } else { format!("{letter}{}", i / 26 + 1) }
}

/// Settings that change what a loss measures, or on which sounds.
const MEASURED_BY: [&str; 12] = [
    "sample_rate",
    "version",
    "preset",
    "if_f0",
    "segment_size",
    "spec_eps",
    "mel_clamp",
    "normalization",
    "target_lufs",
    "target_peak_dbfs",
    "noise_reduction",
    "spk_embed_dim",
];
/// Settings of one loss: its value includes its weight.
const WEIGHTS: [(&str, &str); 2] = [("loss_mel", "c_mel"), ("loss_kl", "c_kl")];
/// The settings of the self-test.
const SELF_TEST_SETTINGS: [&str; 2] = ["content_encoder", "f0_method"];

/// Numbers that cannot be compared between the runs: reasons by kind of number.
#[derive(Default)]
struct Unlike {
    losses: Vec<String>,
    /// Of the losses that have a weight.
    weights: BTreeMap<&'static str, String>,
    validation: Vec<String>,
    self_test: Vec<String>,
}

impl Unlike {
    fn of(records: &[(String, Record)], letters: &[String]) -> Self {
        let setting = |name: &str| {
            let of = |record: &Record| text::find(params(record), name).map(text::value);
            differing(name, letters, records.iter().map(|(_, record)| of(record)))
        };
        let event = |name: &str, what: &str, describe: &dyn Fn(&Value) -> Option<String>| {
            let of = |record: &Record| events(record, name).next_back().and_then(describe);
            differing(what, letters, records.iter().map(|(_, record)| of(record)))
        };
        let clips = |data: &Value| {
            let seconds = track::seconds(&data["seconds"]).map(text::duration).unwrap_or_default();
            Some(format!("{} clips, {seconds},", data["clips"].as_i64()?))
        };
        let any = |beginning: &str| {
            records.iter().any(|(_, record)| record.metrics.keys().any(|key| key.starts_with(beginning)))
        };
        let measured: Vec<String> = MEASURED_BY.iter().filter_map(|name| setting(name)).collect();
        let trained_on = event("dataset", "the training data", &clips);
        let judged_on = event("validation", "the validation set", &clips);
        let listened_to = event("self_test", "the tested recording", &|data| data["of"].as_str().map(str::to_owned));
        let weights = WEIGHTS.iter().filter_map(|(loss, weight)| Some((*loss, setting(weight)?)));
        let mut validation: Vec<String> =
            measured.iter().cloned().chain(setting(WEIGHTS[0].1)).chain(judged_on).collect();
        if !any("validation_") {
            validation.clear();
        }
        Self {
            losses: measured.into_iter().chain(trained_on).collect(),
            weights: weights.collect(),
            validation,
            self_test: SELF_TEST_SETTINGS.iter().filter_map(|name| setting(name)).chain(listened_to).collect(),
        }
    }

    /// Whether the values of a metric, or of a column, measure different things.
    fn includes(&self, metric: &str) -> bool {
        let metric = metric.rsplit(['/', ' ']).next().unwrap_or(metric);
        if metric.starts_with("validation_") {
            return !self.validation.is_empty();
        }
        LOSSES.contains(&metric) && (!self.losses.is_empty() || self.weights.contains_key(metric))
    }

    /// A sentence for each kind of number.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.losses.is_empty() {
            reasons.push(format!("Losses (≠) of these runs cannot be compared: {}.", self.losses.join("; ")));
        }
        let weights = self.weights.iter();
        reasons.extend(
            weights.map(|(loss, why)| format!("{loss} (≠) of these runs cannot be compared: its weight {why}.")),
        );
        if !self.validation.is_empty() {
            reasons.push(format!("Validations (≠) of these runs cannot be compared: {}.", self.validation.join("; ")));
        }
        if !self.self_test.is_empty() {
            reasons.push(format!("Self-tests of these runs cannot be compared: {}.", self.self_test.join("; ")));
        }
        reasons
    }
}

/// "segment_size is 6400 in A, C and 12800 in B"; None if all known values are equal.
fn differing(name: &str, letters: &[String], values: impl Iterator<Item = Option<String>>) -> Option<String> {
    let mut of: Vec<(String, Vec<&str>)> = Vec::new();
    for (value, letter) in values.zip(letters) {
        let Some(value) = value else { continue };
        match of.iter_mut().find(|known| known.0 == value) {
            Some(known) => known.1.push(letter),
            None => of.push((value, vec![letter])),
        }
    }
    let parts = of.iter().map(|(value, letters)| format!("{value} in {}", letters.join(", ")));
    (of.len() > 1).then(|| format!("{name} is {}", parts.collect::<Vec<_>>().join(" and ")))
}

/// Settings that changed in each run's later processes.
fn changes(records: &[(String, Record)], letters: &[String]) -> Table {
    let mut table = Table::new(&["run", "#from epoch", "setting", "before", "after"]);
    for ((_, record), letter) in records.iter().zip(letters) {
        for change in page::changed(record) {
            let epoch = change.epoch.map_or_else(|| text::NONE.to_owned(), |epoch| epoch.to_string());
            let [before, after] = [change.before, change.after].map(|value| Cell::cut(value, 80));
            table.rows.push(vec![letter.clone().into(), epoch.into(), change.setting.into(), before, after]);
        }
    }
    table
}

fn charts(records: &[(String, Record)], letters: &[String], unlike: &Unlike) -> Vec<Chart> {
    let clocks: Vec<Clock> = records.iter().map(|(_, record)| Clock::new(record)).collect();
    let keys: std::collections::BTreeSet<&String> =
        records.iter().flat_map(|(_, record)| record.metrics.keys()).collect();
    let most = (MOST_POINTS_OF_ALL / records.len().max(1)).clamp(LEAST_POINTS, MOST_POINTS);
    let mut charts = Vec::new();
    for (_, unit, keys) in curves::training_groups(keys.into_iter()) {
        for key in keys {
            let curve = |(i, (_, record)): (usize, &(String, Record))| {
                let points = record.metrics.get(&key)?;
                Some(Series::new(letters[i].clone(), i, points, &clocks[i], most))
            };
            let series = records.iter().enumerate().filter_map(curve).collect();
            let title = if unlike.includes(&key) { format!("{key} {UNLIKE} not comparable") } else { key.clone() };
            charts.push(Chart::new(title, unit.clone(), series, Axis::Step));
        }
    }
    charts.retain(|chart| !chart.is_empty());
    charts
}

/// What stands before the measures: it has no heading of its own.
const RUN_PART: &str = "";
const LOSSES_PART: &str = "Losses";

/// A column of the results: its name, which value is best, the value of each run, and its note.
type Measure = (String, Better, Vec<Option<f64>>, Vec<String>);

fn results(records: &[(String, Record)], letters: &[String], unlike: &Unlike) -> Vec<Part> {
    let all: Vec<BTreeMap<i64, page::Epoch>> = records.iter().map(|(_, record)| epochs(record)).collect();
    let both = || records.iter().map(|(_, record)| record).zip(&all);
    let mut measures: Vec<(&'static str, Measure)> = Vec::new();
    let mut add = |part, name: String, better, values: Vec<Option<f64>>, notes: Vec<String>| {
        let (name, better) =
            if unlike.includes(&name) { (format!("{name} {UNLIKE}"), Better::Neither) } else { (name, better) };
        if values.iter().any(Option::is_some) {
            measures.push((part, (name, better, values, notes)));
        }
    };
    // One column has one measure: the first run's.
    let metric = records.first().map_or("loss_mel", |(_, record)| record.best_metric());
    let found: Vec<_> = all.iter().map(|epochs| best(epochs, metric)).collect();
    add(
        LOSSES_PART,
        format!("best {metric}"),
        Better::Lower,
        found.iter().map(|best| best.map(|(_, value)| value)).collect(),
        found.iter().map(|best| best.map_or_else(String::new, |(epoch, _)| format!(" (epoch {epoch})"))).collect(),
    );
    for key in LOSSES {
        let values = both().map(|(record, epochs)| last(record, epochs, key).map(|(value, _)| value)).collect();
        // The losses of the two adversaries rise and fall against each other.
        let better = if matches!(key, "loss_gen" | "loss_disc" | "loss_fm") { Better::Neither } else { Better::Lower };
        add(LOSSES_PART, format!("last {key}"), better, values, Vec::new());
    }
    let validation = records.iter().flat_map(|(_, r)| r.metrics.keys()).filter(|key| key.starts_with("validation_"));
    for key in validation.collect::<std::collections::BTreeSet<_>>() {
        let values = both().map(|(record, epochs)| last(record, epochs, key).map(|(value, _)| value)).collect();
        let better = if key.starts_with("validation_loss") { Better::Lower } else { Better::Neither };
        add("Validation", key.clone(), better, values, Vec::new());
    }
    for (key, unit, direction, _) in SELF_TEST {
        let value = |record: &Record| {
            let event = events(record, "self_test").next_back().and_then(|data| crate::track::number(&data[key]));
            event.or_else(|| Some(record.metrics.get(&format!("self_test_{key}"))?.values().next_back()?.value))
        };
        let better = match direction {
            "higher" => Better::Higher,
            "lower" => Better::Lower,
            _ => Better::NearestToZero,
        };
        let better = if unlike.self_test.is_empty() { better } else { Better::Neither };
        let name = if unit.is_empty() { key.to_owned() } else { format!("{key} ({unit})") };
        add("Self-test", name, better, records.iter().map(|(_, record)| value(record)).collect(), Vec::new());
    }
    let speed =
        both().map(|(record, epochs)| last(record, epochs, "steps_per_second").map(|(value, _)| value)).collect();
    add(RUN_PART, "steps/s".into(), Better::Higher, speed, Vec::new());

    let mut parts = Vec::new();
    for title in [RUN_PART, LOSSES_PART, "Validation", "Self-test"] {
        let own: Vec<&Measure> = measures.iter().filter(|(part, _)| *part == title).map(|(_, own)| own).collect();
        let about: &[&str] =
            if title == RUN_PART { &["run", "voice", "status", "#epochs", "#worked", "device"] } else { &["run"] };
        let of_a_width = if title == RUN_PART { vec![&own[..]] } else { own.chunks(MOST_COLUMNS).collect() };
        for own in of_a_width {
            let mut table = Table::new(about);
            table.columns.extend(own.iter().map(|(name, ..)| Column::number(name.clone())));
            for (i, (id, record)) in records.iter().enumerate() {
                let status = record.status.clone().unwrap_or_else(|| "not ended".into());
                let about_run = [
                    letters[i].clone(),
                    voice(record, id),
                    status,
                    progress(record, &all[i]),
                    text::duration(record.seconds()),
                    device(record),
                ];
                let mut row: Vec<Cell> = about_run.into_iter().take(about.len()).map(Cell::from).collect();
                row.extend(own.iter().map(|(_, better, values, notes)| Cell {
                    text: format!("{}{}", text::maybe(values[i]), notes.get(i).map_or("", String::as_str)),
                    strong: is_best(values, i, *better),
                    ..Cell::default()
                }));
                table.rows.push(row);
            }
            parts.push(Part { title, table });
        }
    }
    parts
}

/// Whether no other value is better, and at least one is worse.
fn is_best(values: &[Option<f64>], i: usize, better: Better) -> bool {
    let cost = |value: f64| match better {
        Better::Lower => value,
        Better::Higher => -value,
        Better::NearestToZero => value.abs(),
        Better::Neither => 0.0,
    };
    let costs: Vec<f64> = values.iter().flatten().copied().map(cost).collect();
    let Some(own) = values[i].map(cost).filter(|own| own.is_finite()) else { return false };
    !costs.iter().any(|other| *other < own) && costs.iter().any(|other| *other > own || other.is_nan())
}

/// The settings that differ, and the equal ones.
fn settings(records: &[(String, Record)], letters: &[String]) -> (Vec<Table>, Table) {
    let of: Vec<Vec<(String, String)>> = records.iter().map(|(_, record)| text::flat(params(record))).collect();
    let (differing, same) = split(&of);
    let differences = side_by_side("setting", &differing, letters);
    let mut equal = Table::new(&["setting", "value in all runs"]);
    for (name, value) in same {
        equal.push([name, value]);
    }
    (differences, equal)
}

/// Differences in the program and the machine.
fn environment(records: &[(String, Record)], letters: &[String]) -> Vec<Table> {
    let of = |record: &Record| {
        let version = record.sessions.iter().rev().find_map(|session| session.opening["tool_version"].as_str());
        let version = version.map(|version| ("rvc-run".to_owned(), version.to_owned()));
        version.into_iter().chain(tags(record).iter().map(|(key, value)| (key.clone(), text::value(value)))).collect()
    };
    let (differing, _) = split(&records.iter().map(|(_, record)| of(record)).collect::<Vec<_>>());
    side_by_side("what", &differing, letters)
}

/// Rows of a name and the value of each run, as tables that fit a page: one with a column for each run, or, if the runs are too many, some with a
/// row for each run. None without rows.
fn side_by_side(what: &str, rows: &[Vec<String>], letters: &[String]) -> Vec<Table> {
    if rows.is_empty() {
        return Vec::new();
    }
    if letters.len() <= MOST_COLUMNS {
        let columns: Vec<&str> = std::iter::once(what).chain(letters.iter().map(String::as_str)).collect();
        let mut table = Table::new(&columns);
        table.rows = rows.iter().map(|row| row.iter().cloned().map(Cell::from).collect()).collect();
        return vec![table];
    }
    let turned = |rows: &[Vec<String>]| {
        let columns: Vec<&str> = std::iter::once("run").chain(rows.iter().map(|row| row[0].as_str())).collect();
        let mut table = Table::new(&columns);
        for (i, letter) in letters.iter().enumerate() {
            let values = rows.iter().map(|row| row[i + 1].clone());
            table.rows.push(std::iter::once(letter.clone()).chain(values).map(Cell::from).collect());
        }
        table
    };
    rows.chunks(MOST_COLUMNS).map(turned).collect()
}

/// Rows (name, value of each run) of differing values, and pairs of equal ones, in order of first appearance.
fn split(of: &[Vec<(String, String)>]) -> (Vec<Vec<String>>, Vec<(String, String)>) {
    let maps: Vec<BTreeMap<&str, &str>> =
        of.iter().map(|pairs| pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()).collect();
    let mut names: Vec<&str> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    names.extend(of.iter().flatten().map(|(name, _)| name.as_str()).filter(|name| known.insert(*name)));
    let (mut differing, mut same) = (Vec::new(), Vec::new());
    for name in names {
        let values: Vec<Option<&str>> = maps.iter().map(|map| map.get(name).copied()).collect();
        match values[0] {
            Some(first) if values.iter().all(|value| *value == Some(first)) => {
                same.push((name.to_owned(), first.to_owned()));
            }
            _ => {
                let shown = values.iter().map(|value| value.unwrap_or(text::NONE).to_owned());
                differing.push(std::iter::once(name.to_owned()).chain(shown).collect());
            }
        }
    }
    (differing, same)
}
