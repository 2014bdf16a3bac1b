//! Curves: metrics grouped into charts, reduced so that a page stays small, as data for the page's script and as pictures
//! for pages without scripts.
//!
//! Written here: crates plotters and charming draw whole charts; a page needs data for its script, works offline and stays light.

use super::text;
use crate::track::{Point, Record};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most points of a curve in the page. More make the page heavy, and no screen shows them.
pub const MOST_POINTS: usize = 1500;
/// Most points of a curve in a static picture, which is 720 pixels wide.
const DRAWN_POINTS: usize = 400;
/// Number of colours in style.css; further curves are dashed.
const COLOURS: usize = 8;

/// One chart with its curves.
#[derive(Debug, Serialize)]
pub struct Chart {
    pub title: String,
    /// Unit of the values; empty if they have none.
    pub unit: String,
    /// The curves' names, for screen readers and the script.
    pub series: Vec<Series>,
    /// The static picture, escaped.
    pub svg: String,
}

/// One reduced curve.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub name: String,
    /// Index of its colour.
    pub colour: usize,
    pub dashed: bool,
    /// A note about values that are not finite; empty if all are.
    pub note: String,
    /// Steps, minutes and values; a value that is not finite breaks the line.
    #[serde(skip)]
    points: Vec<(i64, f64, Option<f64>)>,
    /// The means of the reduced values, for smoothing; empty if nothing was reduced.
    #[serde(skip)]
    means: Vec<(i64, f64, f64)>,
    /// Steps from, to, how many of them, minutes from.
    #[serde(skip)]
    bad: Vec<(i64, i64, usize, f64)>,
}

/// The time of a run without the pauses between its processes.
pub struct Clock {
    /// Unix seconds of the start of each process, seconds worked before it, seconds worked in it.
    sessions: Vec<(f64, f64, f64)>,
}

impl Clock {
    pub fn new(record: &Record) -> Self {
        let mut before = 0.0;
        let sessions = record.sessions.iter().map(|session| {
            let entry = (session.time.0, before, session.seconds);
            before += session.seconds;
            entry
        });
        Self { sessions: sessions.collect() }
    }

    /// Minutes of work since the run began.
    pub fn minutes(&self, time: f64) -> f64 {
        let at = self.sessions.partition_point(|(start, _, _)| *start <= time).saturating_sub(1);
        let Some((start, before, most)) = self.sessions.get(at) else { return 0.0 };
        (before + (time - start).clamp(0.0, *most)) / 60.0
    }
}

impl Series {
    /// At most `most` points: the least and the greatest of each bucket, so that no peak is lost. Values that are not finite
    /// are kept as marks, and break the line.
    pub fn new(
        name: impl Into<String>,
        index: usize,
        points: &BTreeMap<i64, Point>,
        clock: &Clock,
        most: usize,
    ) -> Self {
        let all: Vec<(i64, Point)> = points.iter().map(|(step, point)| (*step, *point)).collect();
        let bad_count = all.iter().filter(|(_, point)| !point.value.is_finite()).count();
        let size = if all.len() <= most {
            1
        } else {
            // A bucket has two points, and one more where the line breaks.
            all.len().div_ceil(most / if bad_count > 0 { 3 } else { 2 })
        };
        let (mut kept, mut means, mut bad) = (Vec::new(), Vec::new(), Vec::<(i64, i64, usize, f64)>::new());
        // Clocks are sometimes set back; a curve does not go back.
        let mut latest = 0.0_f64;
        for bucket in all.chunks(size) {
            let mut minutes = |point: &Point| {
                latest = latest.max(clock.minutes(point.time));
                latest
            };
            let finite = || bucket.iter().filter(|(_, point)| point.value.is_finite());
            let by_value = |a: &&(i64, Point), b: &&(i64, Point)| a.1.value.total_cmp(&b.1.value);
            let mut chosen: Vec<&(i64, Point)> = finite().min_by(by_value).into_iter().collect();
            chosen.extend(finite().max_by(by_value).filter(|most| chosen[0].0 != most.0));
            let mut wrong = bucket.iter().filter(|(_, point)| !point.value.is_finite());
            if let Some(first) = wrong.next() {
                let last = wrong.next_back().unwrap_or(first);
                let count = bucket.len() - finite().count();
                let at = clock.minutes(first.1.time);
                bad.push((first.0, last.0, count, at));
                chosen.push(first);
            }
            chosen.sort_by_key(|(step, _)| *step);
            for (step, point) in chosen {
                kept.push((*step, minutes(point), Some(point.value).filter(|value| value.is_finite())));
            }
            if size > 1 && finite().next().is_some() {
                let mean = finite().map(|(_, point)| point.value).sum::<f64>() / finite().count() as f64;
                let (step, point) = bucket[bucket.len() / 2];
                means.push((step, clock.minutes(point.time), mean));
            }
        }
        let note = match (bad_count, bad.first()) {
            (0, _) | (_, None) => String::new(),
            (1, Some((step, ..))) => format!("not a finite number at step {step}"),
            (n, Some((first, ..))) => {
                let last = bad.last().map_or(*first, |(_, last, ..)| *last);
                format!("not a finite number at {n} steps from {first} to {last}")
            }
        };
        Self {
            name: name.into(),
            colour: index % COLOURS,
            dashed: index >= COLOURS,
            note,
            points: kept,
            means,
            bad: merged(&bad),
        }
    }

    fn data(&self) -> Value {
        let short = |value: f64| {
            // Five digits are enough for a screen and halve the size of the page.
            format!("{value:.4e}").parse::<f64>().unwrap_or(value)
        };
        let minutes = |value: f64| (value * 1000.0).round() / 1000.0;
        let mut data = json!({
            "name": self.name, "colour": self.colour, "dashed": self.dashed,
            "x": self.points.iter().map(|p| p.0).collect::<Vec<_>>(),
            "t": self.points.iter().map(|p| minutes(p.1)).collect::<Vec<_>>(),
            "y": self.points.iter().map(|p| p.2.map(short)).collect::<Vec<_>>(),
        });
        if !self.means.is_empty() {
            data["mean"] = json!({
                "x": self.means.iter().map(|p| p.0).collect::<Vec<_>>(),
                "t": self.means.iter().map(|p| minutes(p.1)).collect::<Vec<_>>(),
                "y": self.means.iter().map(|p| short(p.2)).collect::<Vec<_>>(),
            });
        }
        if !self.bad.is_empty() {
            data["bad"] = self.bad.iter().map(|(from, to, n, at)| json!([from, to, n, minutes(*at)])).collect();
        }
        data
    }
}

/// Merges neighbouring marks if there are more than a screen can show.
fn merged(bad: &[(i64, i64, usize, f64)]) -> Vec<(i64, i64, usize, f64)> {
    const MOST_MARKS: usize = 300;
    let size = bad.len().div_ceil(MOST_MARKS).max(1);
    let whole = |marks: &[(i64, i64, usize, f64)]| {
        let (first, last) = (marks[0], marks[marks.len() - 1]);
        (first.0, last.1, marks.iter().map(|mark| mark.2).sum(), first.3)
    };
    bad.chunks(size).map(whole).collect()
}

impl Chart {
    /// `axis`: the horizontal axis of the static picture, see [`Axis`].
    pub fn new(title: impl Into<String>, unit: impl Into<String>, series: Vec<Series>, axis: Axis) -> Self {
        let (title, unit) = (title.into(), unit.into());
        let svg = draw(&title, &unit, &series, axis);
        Self { title, unit, series, svg }
    }

    /// Whether there are only single values, which make no curve.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.len() < 2)
    }
}

/// The horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    Step,
    /// For values measured over time, such as the machine's load.
    Minutes,
}

/// The charts as JSON for the page's script, safe inside a script element.
pub fn data(charts: &[(&Chart, Axis)], epochs: &[(i64, i64)]) -> String {
    let chart = |(chart, axis): &(&Chart, Axis)| {
        json!({
            "title": chart.title, "unit": chart.unit, "minutes_only": *axis == Axis::Minutes,
            // A schedule has no noise to smooth.
            "exact": chart.title == LEARNING_RATE,
            "series": chart.series.iter().map(Series::data).collect::<Vec<_>>(),
        })
    };
    let value = json!({ "charts": charts.iter().map(chart).collect::<Vec<_>>(), "epochs": epochs });
    for_script(&value)
}

/// JSON that cannot end a script element or begin a comment.
fn for_script(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

const LEARNING_RATE: &str = "Learning rate";

/// The known metrics of training: (title, unit, keys); each other metric gets its own chart.
const TRAINING: [(&str, &str, &[&str]); 9] = [
    ("Mel loss", "", &["loss_mel", "epoch/loss_mel", "validation_loss_mel"]),
    ("Other losses", "", &["loss_gen", "loss_disc", "loss_fm", "loss_kl"]),
    ("Other losses, means of the epochs", "", &["epoch/loss_gen", "epoch/loss_disc", "epoch/loss_fm", "epoch/loss_kl"]),
    (LEARNING_RATE, "", &["learning_rate"]),
    ("Gradient norms", "", &["grad_norm_g", "grad_norm_d"]),
    ("Speed", "steps/s", &["steps_per_second"]),
    ("Audio trained on", "s of audio/s", &["audio_seconds_per_second"]),
    ("Time for an epoch", "s", &["epoch/seconds"]),
    ("Energy for an epoch", "J", &["epoch/energy_joules"]),
];

/// Keys without a curve: measured once, shown elsewhere, or means of values that have a curve.
fn is_curve(key: &str) -> bool {
    let known = |group: &(&str, &str, &[&str])| group.2.contains(&key);
    let elsewhere = ["epoch/", "system/", "index_", "self_test_", "dataset_", "loss/"];
    TRAINING.iter().any(known) || !elsewhere.iter().any(|beginning| key.starts_with(beginning))
}

/// Titles, units and keys of the training charts of a run.
pub fn training_groups<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<(String, String, Vec<String>)> {
    let mut keys: Vec<&String> = keys.filter(|key| is_curve(key)).collect();
    let mut groups = Vec::new();
    for (title, unit, known) in TRAINING {
        let found: Vec<String> =
            known.iter().filter(|key| keys.iter().any(|k| k == *key)).map(|k| (*k).into()).collect();
        keys.retain(|key| !found.contains(key));
        groups.push((title.to_owned(), unit.to_owned(), found));
    }
    groups.extend(keys.into_iter().map(|key| (key.clone(), unit_of(key).to_owned(), vec![key.clone()])));
    groups.retain(|(_, _, keys)| !keys.is_empty());
    groups
}

/// The charts of a training.
pub fn training(record: &Record, clock: &Clock) -> Vec<Chart> {
    charts(record, clock, training_groups(record.metrics.keys()), Axis::Step)
}

/// The charts of the machine's load.
pub fn system(record: &Record, clock: &Clock) -> Vec<Chart> {
    let mut groups: Vec<(String, String, Vec<String>)> = Vec::new();
    for key in record.metrics.keys() {
        let Some(name) = key.strip_prefix("system/") else { continue };
        let (title, unit) = match unit_of(name) {
            // The same as the percentage, or not useful once the card's energy is known.
            "%" if name.starts_with("disk") => continue,
            "%" => ("Load", "%"),
            "MB" if name.starts_with("network") => ("Network", "MB"),
            "MB" if name == "disk_available_megabytes" => ("Free disk space", "MB"),
            "MB" if name.starts_with("disk") => continue,
            "MB" => ("Memory", "MB"),
            "W" => ("Power", "W"),
            "°C" => ("Temperature", "°C"),
            "J" => ("Energy", "J"),
            _ => (name, ""),
        };
        match groups.iter_mut().find(|group| group.0 == title) {
            Some(group) => group.2.push(key.clone()),
            None => groups.push((title.to_owned(), unit.to_owned(), vec![key.clone()])),
        }
    }
    let order = ["Load", "Memory", "Power", "Temperature", "Energy"];
    groups.sort_by_key(|group| order.iter().position(|title| *title == group.0).unwrap_or(order.len()));
    charts(record, clock, groups, Axis::Minutes)
}

fn charts(record: &Record, clock: &Clock, groups: Vec<(String, String, Vec<String>)>, axis: Axis) -> Vec<Chart> {
    let chart = |(title, unit, keys): (String, String, Vec<String>)| {
        let series = keys.iter().enumerate().filter_map(|(i, key)| {
            let name = key.strip_prefix("system/").unwrap_or(key);
            Some(Series::new(plain(name), i, record.metrics.get(key)?, clock, MOST_POINTS))
        });
        Chart::new(title, unit, series.collect(), axis)
    };
    groups.into_iter().map(chart).filter(|chart| !chart.is_empty()).collect()
}

/// "cpu utilization" for "cpu_utilization_percentage": the unit is at the axis. Losses keep their usual names.
fn plain(name: &str) -> String {
    let ending = ["_percentage", "_megabytes", "_watts", "_celsius", "_joules"];
    ending.iter().find_map(|ending| name.strip_suffix(ending)).map_or(name.to_owned(), |name| name.replace('_', " "))
}

/// The unit at the end of a metric's name.
pub fn unit_of(name: &str) -> &'static str {
    let known = [
        ("_percentage", "%"),
        ("_megabytes", "MB"),
        ("_watts", "W"),
        ("_celsius", "°C"),
        ("_joules", "J"),
        ("_cents", "cents"),
        ("_hz", "Hz"),
        ("_db", "dB"),
        ("steps_per_second", "steps/s"),
        ("_seconds_per_second", "s/s"),
        ("_seconds", "s"),
    ];
    known.iter().find(|(ending, _)| name.ends_with(ending)).map_or("", |(_, unit)| unit)
}

// The static picture, in pixels: its size and margins.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 38.0;

fn draw(title: &str, unit: &str, series: &[Series], axis: Axis) -> String {
    let along = |point: &(i64, f64, Option<f64>)| if axis == Axis::Step { point.0 as f64 } else { point.1 };
    let all = || series.iter().flat_map(|series| series.points.iter());
    let (x0, x1) = range(all().map(along));
    let (mut y0, mut y1) = range(all().filter_map(|point| point.2));
    if unit == "%" {
        (y0, y1) = (y0.min(0.0), y1.max(100.0));
    }
    let x = |value: f64| LEFT + (value - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (y1 - value) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, escaped(title));
    // Writing to a String cannot fail.
    for tick in ticks(y0, y1, 5) {
        let (at, label) = (y(tick), text::number(tick));
        let _ = write!(svg, r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/>"#);
        let _ = write!(
            svg,
            r#"<text class="tick" x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for tick in ticks(x0, x1, 8) {
        let (at, label) = (x(tick), text::number(tick));
        let _ = write!(svg, r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/>"#);
        let _ =
            write!(svg, r#"<text class="tick" x="{at:.1}" y="{}" text-anchor="middle">{label}</text>"#, bottom + 15.0);
    }
    let below = if axis == Axis::Step { "step" } else { "minutes" };
    let _ = write!(svg, r#"<text class="name" x="{right}" y="{}" text-anchor="end">{below}</text>"#, HEIGHT - 6.0);
    let _ = write!(svg, r#"<text class="name" x="2" y="12">{}</text>"#, escaped(unit));
    for series in series {
        let class = format!("line c{}{}", series.colour, if series.dashed { " dashed" } else { "" });
        let mut path = String::new();
        let mut broken = true;
        for point in thinned(&series.points) {
            let Some(value) = point.2 else {
                broken = true;
                continue;
            };
            let command = if broken { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(along(&point)), y(value));
            broken = false;
        }
        let _ = write!(svg, r#"<path class="{class}" d="{path}"/>"#);
        for (step, _, _, minutes) in &series.bad {
            let at = x(if axis == Axis::Step { *step as f64 } else { *minutes });
            let _ = write!(svg, r#"<path class="bad" d="M{at:.1} {TOP}V{bottom}"/>"#);
        }
    }
    svg + "</svg>"
}

/// The least and the greatest of the points drawn at one place.
fn thinned(points: &[(i64, f64, Option<f64>)]) -> Vec<(i64, f64, Option<f64>)> {
    let size = (2 * points.len()).div_ceil(DRAWN_POINTS);
    if points.len() <= DRAWN_POINTS {
        return points.to_vec();
    }
    let mut kept = Vec::new();
    for bucket in points.chunks(size) {
        let by_value = |a: &&(i64, f64, Option<f64>), b: &&(i64, f64, Option<f64>)| {
            a.2.unwrap_or_default().total_cmp(&b.2.unwrap_or_default())
        };
        let finite = || bucket.iter().filter(|point| point.2.is_some());
        let mut chosen: Vec<_> = [finite().min_by(by_value), finite().max_by(by_value)].into_iter().flatten().collect();
        chosen.extend(bucket.iter().find(|point| point.2.is_none()));
        chosen.sort_by_key(|point| point.0);
        kept.extend(chosen.into_iter().copied());
    }
    kept
}

/// The least and the greatest, with a margin; 0 to 1 without values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    // Further apart, the difference of two values would be infinite.
    let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
    if low < high {
        return (low, high);
    }
    let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
    (low - room, high + room)
}

/// Round numbers between two values, about `count`.
fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    let size = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * size).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(size);
    // Between values that are almost equal there is no round number.
    if step.is_nan() || step <= 0.0 {
        return vec![low];
    }
    let first = (low / step).ceil();
    let places = (0..=20).map(|i| (first + f64::from(i)) * step);
    places
        .take_while(|tick| *tick <= high + step * 1e-9)
        .map(|tick| if tick.abs() < step / 2.0 { 0.0 } else { tick })
        .collect()
}

/// Text inside SVG.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
