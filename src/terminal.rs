//! What a person sees: bars with a remaining time on a terminal, plain lines elsewhere; and the count of warnings.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rvc_run::script::Diagnostic;
use rvc_run::task::Event;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time between two lines of one stage where there are no bars.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A stage that ends sooner is not worth a line, unless it has something to say.
const QUICK: Duration = Duration::from_secs(1);

/// Standard output for results, standard error for everything else.
pub struct Terminal {
    bars: Option<MultiProgress>,
    colour: bool,
    quiet: AtomicBool,
    warnings: AtomicUsize,
    stages: Mutex<BTreeMap<String, Stage>>,
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
            quiet: AtomicBool::new(false),
            warnings: AtomicUsize::new(0),
            stages: Mutex::default(),
        }
    }

    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// One line of result.
    pub fn print(&self, line: &str) {
        // A closed pipe (`rvc-run list | head -1`) is no reason to stop a training.
        self.between_bars(|| drop(writeln!(std::io::stdout().lock(), "{line}")));
    }

    /// One line about what happens.
    pub fn tell(&self, line: &str) {
        self.between_bars(|| drop(writeln!(std::io::stderr().lock(), "{line}")));
    }

    pub fn diagnostic(&self, diagnostic: &Diagnostic) {
        self.tell(&diagnostic.render(self.colour));
    }

    /// How many warnings were told.
    pub fn warnings(&self) -> usize {
        self.warnings.load(Ordering::Relaxed)
    }

    /// Shows an event of running work.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Warning(text) => {
                self.warnings.fetch_add(1, Ordering::Relaxed);
                self.tell(&format!("warning: {text}"));
            }
            _ if self.is_quiet() => {}
            Event::Info(text) => self.tell(text),
            Event::Begin { stage, total } => self.begin(stage, *total),
            Event::Progress { stage, done, note } => self.progress(stage, *done, note),
            Event::End { stage, done, summary } => self.end(stage, *done, summary),
        }
    }

    fn begin(&self, stage: &str, total: u64) {
        let bar = self.bars.as_ref().map(|bars| bars.add(bar(stage, total)));
        let begun = Stage { bar, total, began: Instant::now(), told: None };
        self.with_stages(|stages| stages.insert(stage.to_owned(), begun));
    }

    /// Tells of stages that began a while ago without a line so far; to be called now and then.
    pub fn tick(&self) {
        if self.bars.is_some() || self.is_quiet() {
            return;
        }
        let lines = self.with_stages(|stages| {
            let silent = stages.iter_mut().filter(|(_, s)| s.told.is_none() && s.began.elapsed() >= QUICK);
            let line = |(name, stage): (&String, &mut Stage)| {
                stage.told = Some(Instant::now());
                if stage.total > 0 { format!("{name}: {} to do", stage.total) } else { format!("{name} ...") }
            };
            silent.map(line).collect::<Vec<_>>()
        });
        for line in lines {
            self.tell(&line);
        }
    }

    fn progress(&self, stage: &str, done: u64, note: &str) {
        let line = self.with_stages(|stages| {
            let known = stages.get_mut(stage)?;
            if let Some(bar) = &known.bar {
                bar.set_position(done);
                bar.set_message(note.to_owned());
                return None;
            }
            if known.told.is_none_or(|told| told.elapsed() < LINE_INTERVAL) {
                return None;
            }
            known.told = Some(Instant::now());
            Some(known.line(stage, done, note))
        });
        if let Some(line) = line {
            self.tell(&line);
        }
    }

    fn end(&self, stage: &str, done: u64, summary: &str) {
        let Some(known) = self.with_stages(|stages| stages.remove(stage)) else { return };
        if let Some(bar) = &known.bar {
            bar.finish_and_clear();
        }
        if summary.is_empty() && known.told.is_none() {
            return;
        }
        let said = if summary.is_empty() { format!("{done} done") } else { summary.to_owned() };
        self.tell(&format!("{stage}: {said} ({:.1} s)", known.began.elapsed().as_secs_f64()));
    }

    fn with_stages<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Stage>) -> T) -> T {
        // A panic elsewhere leaves nothing half-done in the map.
        f(&mut self.stages.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
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
        let line = if self.total > 0 {
            let left = self.began.elapsed().mul_f64(self.total.saturating_sub(done) as f64 / done.max(1) as f64);
            format!("{stage}: {done}/{} ({}%), {} left", self.total, done * 100 / self.total, clock(left))
        } else {
            format!("{stage}: {done}")
        };
        if note.is_empty() { line } else { format!("{line}, {note}") }
    }
}

fn bar(stage: &str, total: u64) -> ProgressBar {
    let template = if total > 0 {
        "{prefix} [{bar:30}] {pos}/{len}, {eta} left {wide_msg}"
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
