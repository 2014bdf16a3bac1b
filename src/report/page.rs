//! The content of the page of one run, section by section.

use super::curves::{self, Axis, Chart, Clock};
use super::sounds::{self, Gallery, events};
use super::text::{self, find};
use super::{Cell, Table, shown};
use crate::files::Workspace;
use crate::track::{self, Point, Record};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A run without an end counts as running if its log is younger than this: the machine is measured several times in it.
const ALIVE_SECONDS: f64 = 90.0;
/// Most rows of the table of epochs; of more, every n-th is shown.
const MOST_EPOCHS: usize = 1000;
/// Most rows of other lists (warnings, dropped clips, artefacts).
const MOST_ROWS: usize = 1000;

/// The losses shown for a run, in order.
pub const LOSSES: [&str; 5] = ["loss_mel", "loss_kl", "loss_fm", "loss_gen", "loss_disc"];

/// The self-test's measures: key, unit, which direction is better, meaning.
pub const SELF_TEST: [(&str, &str, &str, &str); 6] = [
    ("snr", "dB", "higher", "signal against the difference to the original"),
    ("log_mel_distance", "", "lower", "difference of the log-mel spectra"),
    ("f0_rmse_cents", "cents", "lower", "error of the pitch where both are voiced"),
    ("voicing_error", "", "lower", "share of frames voiced in only one of both"),
    ("loudness_difference", "dB", "nearest to 0", "louder (+) or quieter (−) than the original"),
    ("content_distance", "", "lower", "difference of the words, by the content features"),
];

/// The data of run.html.
#[derive(Debug, Serialize)]
pub struct Page {
    title: String,
    voice: String,
    run: String,
    made: String,
    status: Status,
    failure: Option<Failure>,
    facts: Vec<Fact>,
    summary: Table,
    charts: Vec<Chart>,
    system_charts: Vec<Chart>,
    /// All charts for the script; JSON, safe inside a script element.
    data: String,
    gallery: Gallery,
    self_test: Table,
    /// The results of the self-test, a sentence each.
    self_test_says: Vec<String>,
    epochs: Table,
    epochs_note: String,
    dataset: Table,
    dataset_note: String,
    findings: Table,
    dropped: Table,
    stages: Table,
    stages_note: String,
    changes: Table,
    system: Table,
    index: Table,
    warnings: Table,
    params: Table,
    recipe_path: String,
    recipe: String,
    environment: Table,
    sessions: Table,
    places: Table,
    /// Damage in the log itself.
    notes: Vec<String>,
}

/// The state of a run.
#[derive(Debug, Serialize)]
pub struct Status {
    /// One of done, failed, cancelled, running, open; picks the colour.
    pub class: &'static str,
    pub text: String,
}

/// The error that ended a run.
#[derive(Debug, Serialize)]
pub struct Failure {
    code: String,
    message: String,
    hint: String,
}

/// One of the figures at the top.
#[derive(Debug, Serialize)]
pub struct Fact {
    name: String,
    value: String,
    note: String,
}

impl Page {
    /// `now`: Unix seconds.
    pub fn new(workspace: &Workspace, run: &str, log: &Path, record: &Record, now: f64) -> Self {
        let clock = Clock::new(record);
        let epochs = epochs(record);
        let charts = curves::training(record, &clock);
        let system_charts = curves::system(record, &clock);
        let all = charts.iter().map(|chart| (chart, Axis::Step));
        let all: Vec<_> = all.chain(system_charts.iter().map(|chart| (chart, Axis::Minutes))).collect();
        let data = curves::data(&all, &epoch_ends(record));
        let (dataset, dataset_note, dropped) = dataset(record);
        let (epoch_table, epochs_note) = epoch_table(&epochs, record.best_metric());
        let (recipe_path, recipe) = recipe(record);
        Self {
            title: track::title(run, &record.start),
            voice: voice(record, run),
            run: run.to_owned(),
            made: text::time(now),
            status: status(record, now),
            failure: failure(record),
            facts: facts(record, &epochs),
            summary: summary(record),
            gallery: sounds::gallery(workspace, record),
            data,
            charts,
            system_charts,
            self_test: self_test(record),
            self_test_says: self_test_says(record),
            epochs: epoch_table,
            epochs_note,
            dataset,
            dataset_note,
            findings: findings(record),
            dropped,
            stages: stages(record, &epochs),
            stages_note: stages_note(record, &epochs),
            changes: changes(record),
            system: system(record),
            index: index(record),
            warnings: warnings(record),
            params: pairs(&["setting", "value"], text::flat(params(record))),
            recipe_path,
            recipe,
            environment: environment(record),
            sessions: sessions(record),
            places: places(workspace, log, record),
            notes: notes(record),
        }
    }
}

/// The name of the voice; from the run's id if its start line is lost.
pub fn voice(record: &Record, run: &str) -> String {
    record.start["name"].as_str().or_else(|| track::name_of(run)).unwrap_or(run).to_owned()
}

/// The settings of the last process.
pub fn params(record: &Record) -> &Value {
    let opened = record.sessions.iter().rev().map(|session| &session.opening["params"]);
    opened.into_iter().find(|params| params.is_object()).unwrap_or(&record.start["params"])
}

/// The tags of all processes, the last one's last.
pub fn tags(record: &Record) -> Map<String, Value> {
    let all = record.sessions.iter().filter_map(|session| session.opening["tags"].as_object());
    all.flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The run's state at `now`.
pub fn status(record: &Record, now: f64) -> Status {
    let Some(last) = record.sessions.last() else {
        return Status { class: "open", text: "nothing recorded".into() };
    };
    let plain = |class| Status { class, text: class.to_owned() };
    match record.status.as_deref() {
        Some("done") => plain("done"),
        Some("failed") => plain("failed"),
        Some("cancelled") => plain("cancelled"),
        Some(other) => Status { class: "open", text: other.to_owned() },
        None if now - last.time.1 < ALIVE_SECONDS => {
            Status { class: "running", text: "running when this page was made".into() }
        }
        None if last.time.1 == 0.0 => Status { class: "open", text: "not ended; its times are not recorded".into() },
        None => {
            let silent = text::duration(now - last.time.1);
            Status { class: "open", text: format!("not ended: killed or busy; the last line is {silent} old") }
        }
    }
}

/// The error that ended the run, if the last process failed and the log has it.
fn failure(record: &Record) -> Option<Failure> {
    let error = &record.sessions.last()?.finish["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let message = text("message");
    (!message.is_empty()).then(|| Failure { code: text("code"), message, hint: text("hint") })
}

/// The device of the training, if the log has it.
pub fn device(record: &Record) -> String {
    let tags = tags(record);
    let gpu = tags.get("rvc_run.gpu").and_then(Value::as_str).filter(|gpu| !gpu.is_empty());
    match (find(params(record), "gpu").and_then(Value::as_bool), gpu) {
        (Some(false), _) => "CPU".into(),
        // A machine that was measured and has no GPU.
        (None, None) if tags.contains_key("rvc_run.host") => "CPU".into(),
        (None, None) => "not recorded".into(),
        (Some(true), gpu) => gpu.unwrap_or("GPU").to_owned(),
        (None, Some(gpu)) => format!("{gpu} (present)"),
    }
}

/// An epoch's means.
#[derive(Clone, Debug, Default)]
pub struct Epoch {
    pub step: Option<i64>,
    pub seconds: Option<f64>,
    pub means: BTreeMap<String, f64>,
}

/// The finished epochs, by number; of an epoch that was repeated after a kill the last one counts. If a log has no epoch events,
/// they come from the metric that numbers them, and their means from the steps.
pub fn epochs(record: &Record) -> BTreeMap<i64, Epoch> {
    let mut epochs = BTreeMap::new();
    for data in events(record, "epoch") {
        let Some(number) = data["epoch"].as_i64() else { continue };
        let means = data["metrics"].as_object().into_iter().flatten();
        let means = means.filter_map(|(key, value)| Some((key.clone(), track::number(value)?))).collect();
        epochs.insert(number, Epoch { step: data["step"].as_i64(), seconds: track::seconds(&data["seconds"]), means });
    }
    if !epochs.is_empty() {
        return epochs;
    }
    let mut before = i64::MIN;
    for (step, number) in epoch_ends(record) {
        let mean = |key: &&str| {
            let points: Vec<f64> =
                record.metrics.get(*key)?.range(before..=step).map(|(_, point)| point.value).collect();
            (!points.is_empty()).then(|| ((*key).to_owned(), points.iter().sum::<f64>() / points.len() as f64))
        };
        let means = LOSSES.iter().filter_map(mean).collect();
        epochs.insert(number, Epoch { step: Some(step), seconds: None, means });
        before = step.saturating_add(1);
    }
    epochs
}

/// (last step, number) of each epoch.
fn epoch_ends(record: &Record) -> Vec<(i64, i64)> {
    let ends = record.metrics.get(track::EPOCH).into_iter().flatten();
    ends.filter(|(_, point)| point.value.is_finite()).map(|(step, point)| (*step, point.value as i64)).collect()
}

/// The epoch with the least mean of a loss.
pub fn best(epochs: &BTreeMap<i64, Epoch>, key: &str) -> Option<(i64, f64)> {
    let values = epochs.iter().filter_map(|(number, epoch)| Some((*number, *epoch.means.get(key)?)));
    values.filter(|(_, value)| value.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// The last value of a loss: the mean of the last epoch, or the last step's value.
pub fn last(record: &Record, epochs: &BTreeMap<i64, Epoch>, key: &str) -> Option<(f64, &'static str)> {
    let mean = epochs.values().next_back().and_then(|epoch| epoch.means.get(key)).map(|value| (*value, "last epoch"));
    mean.or_else(|| record.metrics.get(key)?.values().next_back().map(|point| (point.value, "last step")))
}

/// Finished epochs, of those requested.
pub fn progress(record: &Record, epochs: &BTreeMap<i64, Epoch>) -> String {
    let done = epochs.keys().next_back();
    let wanted = find(params(record), "epochs").and_then(Value::as_i64);
    match (done, wanted) {
        (None, None) => text::NONE.into(),
        (None, Some(wanted)) => format!("0 of {wanted}"),
        (Some(done), Some(wanted)) if done != &wanted => format!("{done} of {wanted}"),
        (Some(done), _) => done.to_string(),
    }
}

fn facts(record: &Record, epochs: &BTreeMap<i64, Epoch>) -> Vec<Fact> {
    let fact = |name: &str, value: String, note: String| Fact { name: name.into(), value, note };
    let steps = LOSSES.iter().filter_map(|key| record.metrics.get(*key)?.keys().next_back()).max();
    let began = record.sessions.first().map_or_else(String::new, |session| text::time(session.time.0));
    let processes = record.sessions.len();
    let training = train_seconds(epochs);
    let training =
        if training > 0.0 { format!(", {} of it in epochs", text::duration(training)) } else { String::new() };
    let mut facts = vec![
        fact(
            "Worked",
            text::duration(record.seconds()),
            if processes > 1 {
                format!("in {processes} processes, from {began}{training}")
            } else {
                format!("from {began}{training}")
            },
        ),
        fact(
            "Epochs",
            progress(record, epochs),
            steps.map_or_else(|| "no step recorded".into(), |n| format!("last step {n}")),
        ),
    ];
    let metric = record.best_metric();
    if let Some((number, value)) = best(epochs, metric) {
        facts.push(fact("Best epoch", number.to_string(), format!("mean {metric} {}", text::number(value))));
    }
    for key in LOSSES {
        if let Some((value, when)) = last(record, epochs, key) {
            facts.push(fact(key, text::number(value), when.into()));
        }
    }
    if let Some((value, when)) = last(record, epochs, "steps_per_second") {
        facts.push(fact("Speed", format!("{} steps/s", text::number(value)), when.into()));
    }
    facts.push(fact("Device", device(record), String::new()));
    facts
}

/// A table of names and values.
fn pairs(columns: &[&str; 2], rows: Vec<(String, String)>) -> Table {
    let mut table = Table::new(columns);
    for (name, value) in rows {
        table.push([name, value]);
    }
    table
}

fn summary(record: &Record) -> Table {
    let finish = record.sessions.last().map_or(&Value::Null, |session| &session.finish["summary"]);
    pairs(&["summary", "value"], text::flat(finish).into_iter().map(|(name, value)| (name, shorter(value))).collect())
}

/// A measurement in four digits; any other value unchanged.
fn shorter(value: String) -> String {
    match value.parse::<f64>() {
        Ok(number) if value.contains('.') && value.len() > 8 => text::number(number),
        _ => value,
    }
}

fn self_test(record: &Record) -> Table {
    let mut table = Table::new(&["measure", "#value", "unit", "better", "what it is"]);
    let event = events(record, "self_test").next_back();
    let mut values: BTreeMap<&str, f64> = BTreeMap::new();
    for (key, points) in &record.metrics {
        if let (Some(name), Some(point)) = (key.strip_prefix("self_test_"), points.values().next_back()) {
            values.insert(name, point.value);
        }
    }
    for (key, value) in event.and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = track::number(value) {
            values.insert(key, value);
        }
    }
    for (key, unit, better, what) in SELF_TEST {
        if let Some(value) = values.remove(key) {
            table.push([key.into(), text::number(value), unit.into(), better.into(), what.into()]);
        }
    }
    for (key, value) in values {
        table.push([key.into(), text::number(value), curves::unit_of(key).into(), String::new(), String::new()]);
    }
    table
}

/// The sentences of `stdlib/proof`, recorded with the numbers.
fn self_test_says(record: &Record) -> Vec<String> {
    let lines = events(record, "self_test").next_back().and_then(|data| data["says"].as_array());
    lines.into_iter().flatten().map(text::value).collect()
}

fn epoch_table(epochs: &BTreeMap<i64, Epoch>, metric: &str) -> (Table, String) {
    let mut columns = vec!["#epoch", "#step", "#seconds"];
    let found: Vec<&str> =
        LOSSES.into_iter().filter(|key| epochs.values().any(|e| e.means.contains_key(*key))).collect();
    let names: Vec<String> = found.iter().map(|key| format!("#{key}")).collect();
    columns.extend(names.iter().map(String::as_str));
    let mut table = Table::new(&columns);
    let every = epochs.len().div_ceil(MOST_EPOCHS).max(1);
    let best = best(epochs, metric).map(|(number, _)| number);
    let last = epochs.keys().next_back();
    for (i, (number, epoch)) in epochs.iter().enumerate() {
        if i % every != 0 && best != Some(*number) && last != Some(number) {
            continue;
        }
        let step = epoch.step.map_or_else(|| text::NONE.to_owned(), |step| step.to_string());
        let mut row = vec![number.to_string(), step, text::seconds(epoch.seconds)];
        row.extend(found.iter().map(|key| text::maybe(epoch.means.get(*key).copied())));
        let strong = best == Some(*number);
        table.rows.push(row.into_iter().map(|text| Cell::strong(text, strong)).collect());
    }
    let note = if every > 1 { format!("every {every}th of {} epochs", epochs.len()) } else { String::new() };
    (table, note)
}

/// Columns from the report on the data set: heading, name there, factor.
const MEASURES: [(&str, &str, f64); 6] = [
    ("#bandwidth|Hz", "bandwidth_hz", 1.0),
    ("#clipped|%", "clipped_share", 100.0),
    ("#noise|dB", "noise_db", 1.0),
    ("#SNR|dB", "snr_db", 1.0),
    ("#loudness|LUFS", "loudness_lufs", 1.0),
    ("#silence|%", "silence_share", 100.0),
];

/// Most characters of a recording's name in the table; the full name is shown under the pointer.
const MOST_NAME: usize = 70;

/// The recordings, those with problems first; a line about all of them; the dropped clips.
fn dataset(record: &Record) -> (Table, String, Table) {
    let Some(data) = events(record, "dataset").next_back() else { return Default::default() };
    let survey = &data["survey"];
    let list = |of: &'_ Value| of.as_array().cloned().unwrap_or_default();
    let recordings = list(&data["recordings"]);
    let measured = list(&survey["recordings"]);
    let measured: BTreeMap<&str, &Value> =
        measured.iter().filter_map(|one| Some((one["name"].as_str()?, one))).collect();
    let several_speakers = recordings.iter().any(|one| one["sid"] != recordings[0]["sid"]);

    let mut columns = vec!["recording"];
    columns.extend(several_speakers.then_some("#speaker"));
    columns.extend(["#length|s", "#clips", "#kept|s"]);
    if !survey.is_null() {
        columns.extend(MEASURES.map(|(title, _, _)| title));
    }
    let mut table = Table::new(&columns);
    let mut judged: Vec<Judged> = recordings.iter().map(Judged::of).collect();
    // Stable: within a rank they stay in the order of reading.
    judged.sort_by_key(|one| one.rank);
    for one in judged.iter().take(MOST_ROWS) {
        let measures = one.row["name"].as_str().and_then(|name| measured.get(name));
        let measure = |(_, key, factor): (&str, &str, f64)| {
            let value = measures.and_then(|all| all[key].as_f64());
            value.map_or_else(|| text::NONE.to_owned(), |value| text::number((value * factor * 10.0).round() / 10.0))
        };
        let mut cells = vec![one.name()];
        cells.extend(several_speakers.then(|| text::value(&one.row["sid"]).into()));
        let [length, kept] = ["seconds", "kept_seconds"].map(|key| text::seconds(track::seconds(&one.row[key])));
        cells.extend([length, text::value(&one.row["clips"]), kept].map(Cell::from));
        if !survey.is_null() {
            cells.extend(MEASURES.map(|column| measure(column).into()));
        }
        table.rows.push(cells);
    }
    if judged.len() > MOST_ROWS {
        let mut more = vec![format!("and {} more", judged.len() - MOST_ROWS)];
        more.resize(columns.len(), String::new());
        table.total(more);
    }
    if recordings.len() > 1 {
        let sum = |key: &str| recordings.iter().filter_map(|one| track::seconds(&one[key])).sum::<f64>();
        let mut all = vec![format!("all {}", recordings.len())];
        all.extend(several_speakers.then(String::new));
        all.extend([
            text::seconds(Some(sum("seconds"))),
            text::number(sum("clips")),
            text::seconds(Some(sum("kept_seconds"))),
        ]);
        all.resize(columns.len(), String::new());
        table.total(all);
    }
    (table, dataset_note(record, data, &judged), dropped_clips(data))
}

/// A recording and its problems.
struct Judged<'a> {
    row: &'a Value,
    /// 0: not used, 1: it has notices, 2: a part of it was left out, 3: no problem.
    rank: u8,
    notes: Vec<String>,
}

impl<'a> Judged<'a> {
    fn of(row: &'a Value) -> Self {
        let entries = |key: &str| row[key].as_array().map_or(&[] as &[Value], Vec::as_slice).iter();
        let unusable = row["reason"].as_str().map(|reason| format!("not used: {reason}"));
        let notices = entries("notices").map(|notice| {
            let message = notice["message"].as_str().or_else(|| notice.as_str());
            let message = message.map_or_else(|| text::value(notice), str::to_owned);
            // A message may contain the seconds itself.
            match track::seconds(&notice["seconds"]).filter(|seconds| *seconds > 0.0) {
                Some(seconds) if !message.contains(" s") => format!("{message} ({seconds:.1} s)"),
                _ => message,
            }
        });
        let dropped = entries("dropped").map(|dropped| {
            let seconds = text::seconds(track::seconds(&dropped["seconds"]));
            let count = match dropped["count"].as_i64() {
                Some(1) => "1 clip".to_owned(),
                _ => format!("{} clips", text::value(&dropped["count"])),
            };
            format!("left out: {seconds} s in {count}, {}", text::value(&dropped["reason"]))
        });
        let (notices, dropped): (Vec<_>, Vec<_>) = (notices.collect(), dropped.collect());
        let rank = match (&unusable, notices.is_empty(), dropped.is_empty()) {
            (Some(_), ..) => 0,
            (_, false, _) => 1,
            (_, _, false) => 2,
            _ => 3,
        };
        Self { row, rank, notes: unusable.into_iter().chain(notices).chain(dropped).collect() }
    }

    fn name(&self) -> Cell {
        Cell {
            strong: self.rank == 0,
            notes: self.notes.clone(),
            ..Cell::cut(text::value(&self.row["name"]), MOST_NAME)
        }
    }
}

fn dataset_note(record: &Record, data: &Value, judged: &[Judged]) -> String {
    let survey = &data["survey"];
    let clip_count = data["clips"].as_i64().map(|clips| format!("{clips} clips"));
    let length = track::seconds(&data["seconds"]).map(|seconds| format!("{} of sound", text::duration(seconds)));
    let of = |rank: u8| judged.iter().filter(|one| one.rank == rank).count();
    let unused = (of(0) > 0).then(|| format!("{} of {} recordings not used", of(0), judged.len()));
    let noticed = (of(1) > 0).then(|| format!("{} with a notice", of(1)));
    let partly = (of(2) > 0).then(|| format!("{} with parts left out", of(2)));
    let f0 = &survey["f0"];
    let pitch = f0["median_hz"].as_f64().map(|median| {
        let [low, high] = ["low_hz", "high_hz"].map(|key| f0[key].as_f64().unwrap_or(median));
        format!("pitch {low:.0} to {high:.0} Hz, median {median:.0}")
    });
    let copies = survey["duplicates"].as_array().map_or(0, Vec::len);
    let copies = (copies > 0).then(|| format!("{copies} recordings are duplicates"));
    let notes = [clip_count, length, unused, noticed, partly, pitch, copies, other_clips(record)];
    notes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn dropped_clips(data: &Value) -> Table {
    let mut clips = Table::new(&["clip", "reason"]);
    let all = data["dropped_clips"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    for one in all.iter().take(MOST_ROWS) {
        clips.push([text::value(&one["name"]), text::value(&one["reason"])]);
    }
    if all.len() > MOST_ROWS {
        clips.total([format!("and {} more", all.len() - MOST_ROWS), String::new()]);
    }
    clips
}

/// "other clips from epoch 12, other f0 from epoch 30", if they changed between the processes of the training.
fn other_clips(record: &Record) -> Option<String> {
    let spans = events(record, "lineage").next_back()?["spans"].as_array()?;
    let said = |pair: &[Value]| {
        let [before, span] = pair else { return None };
        let epoch = span["from_epoch"].as_i64()?;
        if span["data_digest"].as_str() == Some("") {
            return Some(format!("trained by another program from epoch {epoch}"));
        }
        // Older logs do not have it.
        let changed = span["changed"].as_str().filter(|changed| !changed.is_empty());
        let unknown = before["data_digest"].as_str() == Some("");
        (!unknown).then(|| format!("other {} from epoch {epoch}", changed.unwrap_or("clips")))
    };
    let changes: Vec<String> = spans.windows(2).filter_map(said).collect();
    (!changes.is_empty()).then(|| changes.join(", "))
}

/// Limits of the recipe that the recordings do not meet; also for a run that was refused because of them.
fn findings(record: &Record) -> Table {
    let mut table = Table::new(&["finding", "limit", "what", "what to do"]);
    let judged = events(record, "findings").next_back().map(|data| &data["findings"]);
    let surveyed = || events(record, "dataset").next_back().map(|data| &data["survey"]["findings"]);
    let findings = judged.or_else(surveyed).and_then(Value::as_array);
    for one in findings.into_iter().flatten().take(MOST_ROWS) {
        let refused = one["severity"].as_str() == Some("refuse");
        let texts = [
            if refused { "refused".to_owned() } else { "warning".to_owned() },
            text::value(&one["gate"]),
            text::value(&one["message"]),
            text::value(&one["hint"]),
        ];
        table.rows.push(texts.into_iter().map(|text| Cell::strong(text, refused)).collect());
    }
    table
}

/// The stage of the epochs.
const TRAINING: &str = "training";

/// Each stage once, over all processes: the sum of its times, and its last summary.
fn stages(record: &Record, epochs: &BTreeMap<i64, Epoch>) -> Table {
    let mut stages: Vec<(String, usize, f64, &Value)> = Vec::new();
    for data in events(record, "stage") {
        let (name, seconds) = (text::value(&data["stage"]), track::seconds(&data["seconds"]).unwrap_or(0.0));
        match stages.iter_mut().find(|known| known.0 == name) {
            Some(known) => (known.1, known.2, known.3) = (known.1 + 1, known.2 + seconds, data),
            None => stages.push((name, 1, seconds, data)),
        }
    }
    let repeated = stages.iter().any(|(_, times, ..)| *times > 1);
    let mut columns = vec!["stage", "#times", "#time", "#share", "#done", "summary"];
    if !repeated {
        columns.remove(1);
    }
    let mut table = Table::new(&columns);
    let whole = record.seconds();
    let share =
        |seconds: f64| if whole > 0.0 { format!("{:.1} %", seconds / whole * 100.0) } else { text::NONE.into() };
    let mut add = |name: &str, times: String, seconds: f64, done: String, summary: &str| {
        let mut row = vec![name.to_owned(), times, text::duration(seconds), share(seconds), done, summary.to_owned()];
        if !repeated {
            row.remove(1);
        }
        table.rows.push(row.into_iter().map(Cell::from).collect());
    };
    let mut known = 0.0;
    let mut trains = false;
    for (name, times, seconds, last) in stages {
        known += seconds;
        trains |= name == TRAINING;
        let summary = last["summary"].as_str().unwrap_or_default();
        add(&name, times.to_string(), seconds, text::value(&last["done"]), summary);
    }
    let training = train_seconds(epochs);
    if training > 0.0 {
        // The stage of training includes its epochs, and the measuring and saving between them.
        known += if trains { 0.0 } else { training };
        let name = if trains { "of it, finished epochs" } else { TRAINING };
        add(name, String::new(), training, epochs.len().to_string(), "epochs");
    }
    if known <= 0.0 {
        return table;
    }
    // Stages may overlap, or be repeated after a kill: then there is no rest.
    if whole > known {
        add("everything else", String::new(), whole - known, String::new(), "");
    }
    let cells = columns.iter().map(|column| match *column {
        "stage" => "whole run".to_owned(),
        "#time" => text::duration(whole),
        _ => String::new(),
    });
    table.total(cells.collect::<Vec<_>>());
    table
}

/// Seconds spent in finished epochs, each counted once.
fn train_seconds(epochs: &BTreeMap<i64, Epoch>) -> f64 {
    epochs.values().filter_map(|epoch| epoch.seconds).sum()
}

/// A sentence on the meaning of the times.
fn stages_note(record: &Record, epochs: &BTreeMap<i64, Epoch>) -> String {
    let processes = match record.sessions.len() {
        0 | 1 => "the process".to_owned(),
        n => format!("all {n} processes together, without the pauses between them"),
    };
    let training = train_seconds(epochs);
    let training =
        if training > 0.0 { format!(" Finished epochs took {}.", text::duration(training)) } else { String::new() };
    format!("Times are those of {processes}.{training}")
}

/// Settings that changed in a later process of the training: from which epoch, before, after.
fn changes(record: &Record) -> Table {
    let mut table = Table::new(&["#from epoch", "setting", "before", "after"]);
    for change in changed(record) {
        let epoch = change.epoch.map_or_else(|| text::NONE.to_owned(), |epoch| epoch.to_string());
        table.rows.push(vec![
            epoch.into(),
            change.setting.into(),
            Cell::cut(change.before, 80),
            Cell::cut(change.after, 80),
        ]);
    }
    table
}

/// A setting that changed when the training resumed.
pub struct Change {
    /// The first finished epoch with it, if any.
    pub epoch: Option<i64>,
    pub setting: String,
    pub before: String,
    pub after: String,
}

/// The changes between the processes of a run, in order. Settings that the earlier process did not have are new in the program, not changed.
pub fn changed(record: &Record) -> Vec<Change> {
    let settings = |opening: &Value| -> BTreeMap<String, String> {
        let version =
            opening["tool_version"].as_str().map(|version| ("version of rvc-run".to_owned(), version.to_owned()));
        text::flat(&opening["params"]).into_iter().chain(version).collect()
    };
    let mut known = BTreeMap::new();
    let mut changes = Vec::new();
    for (i, session) in record.sessions.iter().enumerate() {
        let end = record.sessions.get(i + 1).map_or(record.events.len(), |next| next.events);
        let own = record.events.get(session.events..end).unwrap_or_default();
        let epoch = own.iter().find(|line| line["event"] == "epoch").and_then(|line| line["data"]["epoch"].as_i64());
        for (setting, after) in settings(&session.opening) {
            if let Some(before) = known.insert(setting.clone(), after.clone()).filter(|before| *before != after) {
                changes.push(Change { epoch, setting, before, after });
            }
        }
    }
    changes
}

fn system(record: &Record) -> Table {
    let mut table = Table::new(&["measure", "unit", "#mean", "#least", "#most"]);
    for (key, points) in &record.metrics {
        let Some(name) = key.strip_prefix("system/") else { continue };
        let values: Vec<f64> = points.values().map(|point: &Point| point.value).filter(|v| v.is_finite()).collect();
        if values.is_empty() {
            continue;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let numbers = [mean, least, most].map(text::number);
        let [mean, least, most] = numbers;
        table.push([name.to_owned(), curves::unit_of(name).to_owned(), mean, least, most]);
    }
    table
}

fn index(record: &Record) -> Table {
    let mut rows: Vec<(String, String)> = Vec::new();
    if let Some(data) = events(record, "index").next_back() {
        rows.extend(text::flat(data).into_iter().map(|(name, value)| (name, shorter(value))));
    }
    let has_rows = !rows.is_empty();
    for (key, points) in record.metrics.iter().filter(|(key, _)| !has_rows && key.starts_with("index_")) {
        rows.extend(points.values().next_back().map(|point| (key.clone(), text::number(point.value))));
    }
    pairs(&["index", "value"], rows)
}

fn warnings(record: &Record) -> Table {
    let mut texts: Vec<(&str, usize)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for warning in events(record, "warning").filter_map(|data| data["text"].as_str()) {
        let place = *places.entry(warning).or_insert(texts.len());
        match texts.get_mut(place) {
            Some(known) => known.1 += 1,
            None => texts.push((warning, 1)),
        }
    }
    let mut table = Table::new(&["#times", "warning"]);
    for (warning, times) in texts.iter().take(MOST_ROWS) {
        table.push([times.to_string(), (*warning).to_owned()]);
    }
    if texts.len() > MOST_ROWS {
        table.total([String::new(), format!("and {} other warnings", texts.len() - MOST_ROWS)]);
    }
    table
}

fn recipe(record: &Record) -> (String, String) {
    let last = events(record, "recipe").next_back().unwrap_or(&Value::Null);
    (last["path"].as_str().unwrap_or_default().into(), last["text"].as_str().unwrap_or_default().into())
}

fn environment(record: &Record) -> Table {
    let mut rows: Vec<(String, String)> = Vec::new();
    let version = record.sessions.iter().rev().find_map(|session| session.opening["tool_version"].as_str());
    rows.extend(version.map(|version| ("rvc-run".to_owned(), version.to_owned())));
    rows.extend(tags(record).iter().map(|(key, value)| (key.clone(), text::value(value))));
    pairs(&["what", "value"], rows)
}

fn sessions(record: &Record) -> Table {
    let mut table = Table::new(&["#process", "began", "#worked", "version", "ended"]);
    if record.sessions.len() < 2 {
        return table;
    }
    for (i, session) in record.sessions.iter().enumerate() {
        table.push([
            (i + 1).to_string(),
            text::time(session.time.0),
            text::duration(session.seconds),
            session.opening["tool_version"].as_str().unwrap_or(text::NONE).into(),
            session.finish["status"].as_str().unwrap_or("not ended").into(),
        ]);
    }
    table
}

fn places(workspace: &Workspace, log: &Path, record: &Record) -> Table {
    let mut table = Table::new(&["file", "what it is"]);
    table.push([shown(workspace, log), "the event log behind this page".into()]);
    let checkpoints: Vec<&Value> = events(record, "checkpoint").collect();
    if let Some(last) = checkpoints.last() {
        for part in ["g", "d"] {
            if let Some(path) = last[part].as_str() {
                let (count, epoch) = (checkpoints.len(), text::value(&last["epoch"]));
                table.push([path.into(), format!("checkpoint of epoch {epoch}, the last of {count} saved")]);
            }
        }
    }
    let mut known = BTreeSet::new();
    let artifacts = record.events.iter().filter(|line| line["type"] == "artifact");
    let named = artifacts.filter_map(|line| Some((line["path"].as_str()?, line["to"].as_str().unwrap_or_default())));
    let all: Vec<_> = named.filter(|pair| known.insert(*pair)).collect();
    for (path, to) in all.iter().take(MOST_ROWS) {
        let what = if to.is_empty() { "belongs to the run".to_owned() } else { format!("belongs to the run, as {to}") };
        table.push([(*path).to_owned(), what]);
    }
    if all.len() > MOST_ROWS {
        table.total([format!("and {} more", all.len() - MOST_ROWS), String::new()]);
    }
    table
}

fn notes(record: &Record) -> Vec<String> {
    let mut notes = Vec::new();
    if record.start.is_null() {
        notes.push("The log has no start line: how this run began, and with which settings, is lost.".to_owned());
    }
    match record.damaged {
        0 => {}
        1 => notes.push("1 line or value of the log cannot be read (cut off by a kill?) and is left out.".to_owned()),
        n => notes.push(format!("{n} lines or values of the log cannot be read and are left out.")),
    }
    if !LOSSES.iter().any(|key| record.metrics.contains_key(*key)) {
        notes.push("No losses are recorded: no training step has finished so far.".to_owned());
    }
    notes
}
