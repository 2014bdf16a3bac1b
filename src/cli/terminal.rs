//! Output: one live line per stage on a terminal, plain lines elsewhere; and the count of warnings.
//!
//! With `--json` the same goes to standard output for programs, one object per line:
//!
//! ```text
//! {"event":"settings","recipe":"train_voice","arguments":["anna"],"changed":{"epochs":500},"values":{..}}   what a recipe runs with
//! {"event":"begin","stage":"slicing","total":12}                          total 0: unknown
//! {"event":"progress","stage":"slicing","done":3,"note":"","eta":1.5}     at most ten a second per stage; eta in seconds
//! {"event":"end","stage":"slicing","done":12,"summary":"","seconds":2.1}
//! {"event":"info","text":..}  {"event":"warning","text":..}
//! {"event":"log","level":"debug","target":..,"text":..,"spans":{"run":..,"stage":..,"file":..}}     details, and what they are about
//! {"event":"print","text":..}                                             a line of result
//! {"event":"recipe","name":"convert","summary":..,"file":null}            of `list`; file: that of the workspace
//! {"event":"check","name":"disk","state":"ok","found":..,"advice":null}   of `doctor`; state: ok, missing or bad
//! {"event":"ready","ready":true,"fetch":"rvc-run assets fetch ..."}       the last of `doctor`; fetch: what train_voice needs by default
//! {"event":"error","code":"data.empty","message":..,"place":{"file":..,"line":..,"column":..},"notes":[..],"hint":..}
//! {"event":"exit","code":0,"warnings":0,"seconds":130.2}                  the last line
//! ```

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rvc_run::duration;
use rvc_run::script::Diagnostic;
use rvc_run::script::params::Opening;
use rvc_run::shown;
use rvc_run::task::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber, span};
use tracing_log::{AsLog, LogTracer, NormalizeEvent};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

/// Time between two lines of one stage where there are no bars.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two progress objects of one stage.
const OBJECT_INTERVAL: Duration = Duration::from_millis(100);

/// A stage that ends sooner gets no line unless it has a summary.
const QUICK: Duration = Duration::from_secs(1);

/// How records of the program's own modules are called.
const OWN: &str = "rvc_run";

/// Standard output for results, standard error for everything else; with `--json` all on standard output.
pub struct Terminal {
    bars: Option<MultiProgress>,
    colour: bool,
    began: Instant,
    json: AtomicBool,
    /// Which records are shown; empty until [`Terminal::listen`].
    filter: OnceLock<reload::Handle<EnvFilter, Registry>>,
    warnings: AtomicUsize,
    stages: Mutex<BTreeMap<String, Stage>>,
    /// What the machine does, shown behind the notes of long stages.
    status: Mutex<String>,
}

struct Stage {
    bar: Option<ProgressBar>,
    total: u64,
    began: Instant,
    /// When the last line was written; `None` before the first.
    told: Option<Instant>,
}

impl Terminal {
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            bars: terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
            began: Instant::now(),
            json: AtomicBool::new(false),
            filter: OnceLock::new(),
            warnings: AtomicUsize::new(0),
            stages: Mutex::default(),
            status: Mutex::default(),
        }
    }

    /// Takes over what the libraries and the engine log.
    pub fn listen(self: &Arc<Self>) {
        let (filter, handle) = reload::Layer::new(filter(false, 0));
        let subscriber = Registry::default().with(filter).with(Records(self.clone()));
        // Only a second call could fail.
        if tracing::subscriber::set_global_default(subscriber).is_ok() && LogTracer::init().is_ok() {
            self.filter.get_or_init(|| handle);
            limit_log_crate();
        }
    }

    /// What is shown: `quiet` only results, warnings and errors; `verbose` 1 also the engine's details, 2 those of libraries
    /// too. Without both, RUST_LOG says.
    pub fn set_level(&self, quiet: bool, verbose: u8) {
        // The subscriber lives as long as the process.
        let _ = self.filter.get().map(|shown| shown.reload(filter(quiet, verbose)));
        limit_log_crate();
    }

    pub fn set_json(&self, json: bool) {
        self.json.store(json, Ordering::Relaxed);
        if let Some(bars) = self.bars.as_ref().filter(|_| json) {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    pub fn is_json(&self) -> bool {
        self.json.load(Ordering::Relaxed)
    }

    /// One line of result.
    pub fn print(&self, line: &str) {
        if self.is_json() {
            return object(&json!({ "event": "print", "text": line }));
        }
        // A closed pipe (`rvc-run list | head -1`) is no reason to stop a training.
        self.between_bars(|| drop(writeln!(std::io::stdout().lock(), "{}", visible(line))));
    }

    /// One line of result, which for programs is an object.
    pub fn result(&self, line: &str, object_of_it: &Value) {
        if self.is_json() { object(object_of_it) } else { self.print(line) }
    }

    /// An empty line for people, before words about what was printed.
    pub fn gap(&self) {
        if !self.is_json() {
            self.write("");
        }
    }

    /// One line of progress or a warning.
    pub fn note(&self, line: &str) {
        if self.is_json() {
            return object(&json!({ "event": "info", "text": line }));
        }
        self.write(&visible(line));
    }

    /// What a recipe runs with.
    pub fn opening(&self, opening: &Opening) {
        match opening.line() {
            Some(_) if self.is_json() => object(&opening.to_json()),
            Some(line) if shows(Level::INFO) => self.note(&line),
            _ => {}
        }
    }

    pub fn diagnostic(&self, diagnostic: &Diagnostic) {
        if self.is_json() {
            return object(&diagnostic.to_json());
        }
        let mut shown = diagnostic.clone();
        shown.message = visible(&shown.message);
        shown.notes.iter_mut().chain(&mut shown.hint).for_each(|text| *text = visible(text));
        if let Some(place) = &mut shown.place {
            place.text = visible(&place.text);
        }
        // With -v also where in the script something came up that is not its fault.
        self.write(&shown.render(self.colour, shows(Level::DEBUG)));
    }

    fn write(&self, lines: &str) {
        self.between_bars(|| drop(writeln!(std::io::stderr().lock(), "{lines}")));
    }

    /// The last words, for programs.
    pub fn exit(&self, code: u8) {
        if self.is_json() {
            let (warnings, seconds) = (self.warnings(), seconds(self.began.elapsed()));
            object(&json!({ "event": "exit", "code": code, "warnings": warnings, "seconds": seconds }));
        }
    }

    /// The number of warnings so far.
    pub fn warnings(&self) -> usize {
        self.warnings.load(Ordering::Relaxed)
    }

    /// Shows an event of running work.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Warning(text) => {
                self.warnings.fetch_add(1, Ordering::Relaxed);
                if self.is_json() {
                    object(&json!({ "event": "warning", "text": text }));
                } else if shows(Level::WARN) {
                    self.note(&format!("warning: {text}"));
                }
            }
            _ if !shows(Level::INFO) => {}
            Event::Info(text) => self.note(text),
            Event::Begin { stage, total } => self.begin(stage, *total),
            Event::Progress { stage, done, note } => self.progress(stage, *done, note),
            Event::End { stage, done, summary } => self.end(stage, *done, summary),
        }
    }

    fn begin(&self, stage: &str, total: u64) {
        let json = self.is_json();
        let bar = self.bars.as_ref().filter(|_| !json).map(|bars| bars.add(bar(stage, total)));
        let begun = Stage { bar, total, began: Instant::now(), told: None };
        self.stages().insert(stage.to_owned(), begun);
        if json {
            object(&json!({ "event": "begin", "stage": stage, "total": total }));
        }
    }

    /// Prints a line for stages that began a while ago and have none yet; call it regularly.
    pub fn tick(&self) {
        if self.bars.is_some() || self.is_json() || !shows(Level::INFO) {
            return;
        }
        let mut lines = Vec::new();
        for (name, stage) in self.stages().iter_mut() {
            if stage.told.is_none() && stage.began.elapsed() >= QUICK {
                stage.told = Some(Instant::now());
                lines.push(if stage.total > 0 {
                    format!("{name}: {} to do", stage.total)
                } else {
                    format!("{name} ...")
                });
            }
        }
        for line in lines {
            self.note(&line);
        }
    }

    /// Whether a stage has run long enough to show the machine's load.
    pub fn is_busy(&self) -> bool {
        self.stages().values().any(|stage| stage.began.elapsed() >= QUICK)
    }

    /// The machine's load now, in a few words; "" for nothing to show.
    pub fn set_status(&self, status: String) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn with_status(&self, note: &str) -> String {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match (note.is_empty(), status.is_empty()) {
            (_, true) | (true, _) => note.to_owned(),
            (false, false) => format!("{note}, {status}"),
        }
    }

    fn progress(&self, stage: &str, done: u64, note: &str) {
        let json = self.is_json();
        let line = {
            let mut stages = self.stages();
            let Some(known) = stages.get_mut(stage) else { return };
            if let Some(bar) = &known.bar {
                bar.set_position(done);
                bar.set_message(self.with_status(note));
                return;
            }
            let (due, interval) = if json { (true, OBJECT_INTERVAL) } else { (known.told.is_some(), LINE_INTERVAL) };
            if !due || known.told.is_some_and(|told| told.elapsed() < interval) {
                return;
            }
            known.told = Some(Instant::now());
            if json {
                let eta = known.left(done).map(seconds);
                let told = json!({ "event": "progress", "stage": stage, "done": done, "note": note, "eta": eta });
                drop(stages);
                return object(&told);
            }
            known.line(stage, done, &self.with_status(note))
        };
        self.note(&line);
    }

    fn end(&self, stage: &str, done: u64, summary: &str) {
        let Some(known) = self.stages().remove(stage) else { return };
        if let Some(bar) = &known.bar {
            bar.finish_and_clear();
        }
        let took = known.began.elapsed();
        if self.is_json() {
            let seconds = seconds(took);
            return object(
                &json!({ "event": "end", "stage": stage, "done": done, "summary": summary, "seconds": seconds }),
            );
        }
        if summary.is_empty() && (known.told.is_none() || done == 0) {
            return;
        }
        let said = if summary.is_empty() { format!("{done} done") } else { summary.to_owned() };
        self.note(&format!("{stage}: {said} ({})", duration::words(took.as_secs_f64())));
    }

    fn stages(&self) -> MutexGuard<'_, BTreeMap<String, Stage>> {
        // A panic elsewhere leaves nothing half-done in the map.
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn between_bars(&self, f: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.suspend(f),
            None => f(),
        }
    }
}

impl Stage {
    fn line(&self, stage: &str, done: u64, note: &str) -> String {
        let line = match self.left(done) {
            Some(left) => {
                format!("{stage}: {done}/{} ({}%), {} left", self.total, done * 100 / self.total, clock(left))
            }
            // A stage that counts nothing shows only its note.
            None if done == 0 && !note.is_empty() => return format!("{stage}: {note}"),
            None => format!("{stage}: {done}"),
        };
        if note.is_empty() { line } else { format!("{line}, {note}") }
    }

    /// The remaining time at the speed so far; None if the total is unknown.
    fn left(&self, done: u64) -> Option<Duration> {
        let rest = self.total.saturating_sub(done) as f64 / done.max(1) as f64;
        (self.total > 0).then(|| self.began.elapsed().mul_f64(rest))
    }
}

/// Passes on what the engine and the libraries log.
struct Records(Arc<Terminal>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Records {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut about = Text::default();
        attributes.record(&mut about);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(about);
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let of_library = event.normalized_metadata();
        let metadata = of_library.as_ref().unwrap_or_else(|| event.metadata());
        let (level, target) = (metadata.level().as_str().to_lowercase(), metadata.target());
        let mut text = Text::default();
        event.record(&mut text);
        let scope = context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root);
        let spans: Vec<(&str, String)> =
            scope.filter_map(|span| Some((span.name(), span.extensions().get::<Text>()?.0.clone()))).collect();
        if self.0.is_json() {
            let spans: serde_json::Map<String, Value> =
                spans.into_iter().map(|(name, about)| (name.to_owned(), about.into())).collect();
            return object(
                &json!({ "event": "log", "level": level, "target": target, "text": text.0, "spans": spans }),
            );
        }
        let about: Vec<String> = spans.iter().map(|(name, about)| format!("{name} {about}")).collect();
        let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
        self.0.note(&format!("{level} {target}{about}: {}", text.0));
    }
}

/// A record's message, or what a span is about.
#[derive(Default)]
struct Text(String);

impl Text {
    fn add(&mut self, field: &Field, value: &str) {
        // Where a library's record was written, which `log` hands on beside its message.
        if field.name().starts_with("log.") {
            return;
        }
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(value);
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Whether the program's own records of a level are shown; progress and warnings follow it.
fn shows(level: Level) -> bool {
    match level {
        Level::DEBUG => tracing::enabled!(target: OWN, Level::DEBUG),
        Level::INFO => tracing::enabled!(target: OWN, Level::INFO),
        Level::WARN => tracing::enabled!(target: OWN, Level::WARN),
        Level::ERROR => tracing::enabled!(target: OWN, Level::ERROR),
        _ => tracing::enabled!(target: OWN, Level::TRACE),
    }
}

/// Spares libraries the work on records that nobody will see.
fn limit_log_crate() {
    tracing_log::log::set_max_level(LevelFilter::current().as_log());
}

/// What is shown by `-q`, `-v`, `-vv`, else by RUST_LOG, else by default: progress, and nothing of libraries.
fn filter(quiet: bool, verbose: u8) -> EnvFilter {
    let environment = std::env::var("RUST_LOG").ok().filter(|text| !quiet && verbose == 0 && !text.is_empty());
    let levels = match (environment, quiet, verbose) {
        // Of two words about the same, the later one counts.
        (Some(text), ..) => format!("info,{text}"),
        (_, true, _) => format!("off,{OWN}=warn"),
        (_, _, 0) => format!("off,{OWN}=info"),
        (_, _, 1) => format!("off,{OWN}=debug"),
        _ => format!("debug,{OWN}=trace"),
    };
    // Words that cannot be read are left out, as in every program that reads this variable.
    let words = levels.split(',').filter_map(|word| word.trim().parse().ok());
    words.fold(EnvFilter::default(), EnvFilter::add_directive)
}

/// Text without control sequences: file names, tags and servers' answers may hold anything.
fn visible(text: &str) -> String {
    shown::lines(text).into_owned()
}

/// A line for a program. A closed pipe is no reason to stop a training.
fn object(object: &Value) {
    drop(writeln!(std::io::stdout().lock(), "{object}"));
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn bar(stage: &str, total: u64) -> ProgressBar {
    let template = if total > 0 {
        "{prefix} [{bar:24}] {pos}/{len}, {eta} left {wide_msg}"
    } else {
        "{prefix} {spinner} {pos}, {elapsed} {wide_msg}"
    };
    // The templates are constant; one that indicatif cannot read would only look plain.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = if total > 0 { ProgressBar::new(total) } else { ProgressBar::no_length() };
    bar.with_style(style.progress_chars("=> ")).with_prefix(stage.to_owned())
}

/// "0:07", "12:30", "3:05:00".
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}
