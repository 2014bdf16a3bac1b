//! Fewer threads for libtorch while other programs compete for the cores.
//!
//! libtorch's threads wait for each other after every operation. A thread that the system has paused for another program
//! delays all the others, so two threads beside two busy programs can be slower than one.
//!
//! Before the first work, the idle share of the cores decides the initial number of threads. After that it measures how long
//! threads of this process were ready to run but had no core. If that is long, it tries a smaller number for one window and keeps it if
//! it is faster. On a machine without other programs the number never changes, and results stay the same to the last bit.
//!
//! Source: Linux `Documentation/scheduler/sched-stats.rst` (schedstat). Other systems do not report that time; there the
//! thread count stays.

use super::runtime;
use std::time::{Duration, Instant};

/// A window is long enough for the scheduler's slices (a few ms) and for batches of unequal length to even out, ...
const WINDOW: Duration = Duration::from_secs(2);
/// ... and has at least this many measurements, ...
const WINDOW_UNITS: u32 = 3;
/// ... or lasts at least this long, for very slow steps.
const LONG_WINDOW: Duration = Duration::from_secs(4);
/// Measurements after a change that do not count: new threads and oneDNN's kernels are made in the first.
const WARM_UP: u32 = 1;
/// Share of the threads' time without a core above which fewer threads are tried. Without other programs it is under 0.02;
/// beside one busy program, two threads on two cores have 0.25 to 0.33.
const BUSY: f64 = 0.15;
/// Share below which more threads are tried.
const FREE: f64 = 0.05;
/// A try is kept if its time is below this fraction of the time before.
const GAIN: f64 = 0.9;
/// Windows between two tries, doubled up to the second number whenever a try is not kept.
const PAUSE: (u32, u32) = (2, 64);

/// How long the machine is observed before the first work: the first step with too many threads beside busy programs may
/// take minutes.
const GLANCE: Duration = Duration::from_millis(100);
/// Idle share of all cores below which work begins with fewer threads.
const CROWDED: f64 = 0.35;

/// Watches the work of one thread and sets how many threads libtorch uses for it.
pub struct Pace {
    choice: Choice,
    /// Source of the process's waiting time; `None` if the number must not change.
    waited: Option<fn() -> Option<Duration>>,
    window: Window,
    /// The message for the first work.
    begins: Option<String>,
}

impl Pace {
    /// For work on the CPU by the calling thread. Changes nothing unless [`runtime::adapt`] allowed it.
    pub fn new() -> Self {
        // Another stage may have lowered the count: it continues from there, up to the program's initial count.
        let (most, threads) = (runtime::most_threads(), runtime::threads());
        let mut pace = Self::with(most, threads, runtime::adapts().then_some(waited as _));
        if pace.waited.is_some()
            && threads == most
            && let Some(few) = idle_share(GLANCE).and_then(|idle| few_threads(most, idle))
        {
            pace.choice.threads = few;
            runtime::use_threads(few);
            pace.begins = Some(format!(
                "other programs use the CPU: starting with {} of {most} (--threads {most} keeps {most})",
                counted(few)
            ));
        }
        pace
    }

    /// For work on a GPU: changes nothing.
    pub fn off() -> Self {
        Self::with(1, 1, None)
    }

    fn with(most: usize, threads: usize, waited: Option<fn() -> Option<Duration>>) -> Self {
        let waited = waited.filter(|_| most > 1);
        Self { choice: Choice::new(most, threads), waited, window: Window::new(), begins: None }
    }

    /// Records that `units` of similar work took `took`, and changes the number of threads if that helps. Returns a message
    /// for the user when a change was faster.
    pub fn after(&mut self, units: f64, took: Duration) -> Option<String> {
        let read = self.waited?;
        if let Some(begins) = self.begins.take() {
            return Some(begins);
        }
        let (seconds, waited) = self.window.add(units, took, self.choice.threads, read)?;
        let before = self.choice.threads;
        let kept = self.choice.window(seconds, waited);
        if self.choice.threads != before {
            runtime::use_threads(self.choice.threads);
            self.window = Window::new();
        }
        kept.map(|kept| kept.describe(self.choice.most))
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

/// Measurements that are judged together.
struct Window {
    warm_up: u32,
    count: u32,
    units: f64,
    took: Duration,
    /// When the window began, and the waiting time of the process by then.
    start: Option<(Instant, Duration)>,
}

impl Window {
    fn new() -> Self {
        Self { warm_up: WARM_UP, count: 0, units: 0.0, took: Duration::ZERO, start: None }
    }

    /// Seconds of a unit and the share of time that each of `threads` waited for a core, once the window is full.
    fn add(
        &mut self,
        units: f64,
        took: Duration,
        threads: usize,
        read: fn() -> Option<Duration>,
    ) -> Option<(f64, f64)> {
        let Some((start, waited_before)) = self.start else {
            self.warm_up = self.warm_up.saturating_sub(1);
            if self.warm_up == 0 {
                self.start = Some((Instant::now(), read()?));
            }
            return None;
        };
        self.count += 1;
        self.units += units;
        self.took += took;
        let full = self.took >= WINDOW && self.count >= WINDOW_UNITS || self.took >= LONG_WINDOW;
        if !full || self.units <= 0.0 {
            return None;
        }
        // Threads that have ended take their waiting time with them.
        let waited = read()?.saturating_sub(waited_before).as_secs_f64();
        let share = waited / (start.elapsed().as_secs_f64() * threads as f64);
        let seconds = self.took.as_secs_f64() / self.units;
        *self = Self { warm_up: 0, start: Some((Instant::now(), read()?)), ..Self::new() };
        Some((seconds, share.min(1.0)))
    }
}

/// A change of the thread count that made the work faster.
#[derive(Debug, PartialEq)]
struct Kept {
    from: usize,
    to: usize,
    /// How many times as fast as before.
    gain: f64,
}

impl Kept {
    fn describe(&self, most: usize) -> String {
        let Self { from, to, gain } = self;
        let why = if to < from { "other programs use the CPU" } else { "the CPU is free again" };
        format!(
            "{why}: now using {} instead of {from}, {gain:.1} times as fast (--threads {most} keeps {most})",
            counted(*to)
        )
    }
}

/// Chooses the number of threads from the results of windows. Independent of clock and system.
struct Choice {
    most: usize,
    threads: usize,
    /// The count before the current try, and its seconds per unit.
    trying: Option<(usize, f64)>,
    /// Windows until the next try.
    rest: u32,
    pause: u32,
}

impl Choice {
    fn new(most: usize, threads: usize) -> Self {
        Self { most: most.max(threads), threads, trying: None, rest: 0, pause: PAUSE.0 }
    }

    /// Processes a window's seconds per unit and the share of time that threads waited for a core; sets `threads` for the next one.
    fn window(&mut self, seconds: f64, waited: f64) -> Option<Kept> {
        if let Some((from, before)) = self.trying.take() {
            let to = self.threads;
            if seconds < GAIN * before {
                (self.rest, self.pause) = (PAUSE.0, PAUSE.0);
                return Some(Kept { from, to, gain: before / seconds });
            }
            self.threads = from;
            self.rest = self.pause;
            self.pause = (2 * self.pause).min(PAUSE.1);
            return None;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let next = if waited > BUSY && self.threads > 1 {
            // As many as had a core.
            ((self.threads as f64 * (1.0 - waited)) as usize).clamp(1, self.threads - 1)
        } else if waited < FREE && self.threads < self.most {
            self.most
        } else {
            return None;
        };
        self.trying = Some((self.threads, seconds));
        self.threads = next;
        None
    }
}

fn counted(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

/// The initial threads on a busy machine; None if all can be used.
fn few_threads(most: usize, idle: f64) -> Option<usize> {
    let few = ((most as f64 * idle).round() as usize).max(1);
    (idle < CROWDED && few < most).then_some(few)
}

/// The share of all cores' time that nobody used while this thread slept for `glance`.
#[cfg(target_os = "linux")]
fn idle_share(glance: Duration) -> Option<f64> {
    // "cpu user nice system idle iowait irq softirq steal ...", in ticks.
    let ticks = || -> Option<(u64, u64)> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let numbers: Vec<u64> =
            text.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        Some((numbers.get(3)? + numbers.get(4)?, numbers.iter().sum()))
    };
    let (idle, all) = ticks()?;
    std::thread::sleep(glance);
    let (idle_then, all_then) = ticks()?;
    let passed = all_then.checked_sub(all).filter(|passed| *passed > 0)?;
    Some(idle_then.saturating_sub(idle) as f64 / passed as f64)
}

#[cfg(not(target_os = "linux"))]
fn idle_share(_glance: Duration) -> Option<f64> {
    None
}

/// Total time that threads of this process have been ready to run without a core.
#[cfg(target_os = "linux")]
fn waited() -> Option<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = tasks.flatten().filter_map(|task| {
        // "time on a core, time waiting for one, slices"; a thread may end meanwhile.
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanoseconds.sum()))
}

#[cfg(not(target_os = "linux"))]
fn waited() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of threads after each window, on a machine where `machine(threads, window)` gives seconds and waiting share.
    fn counts(most: usize, windows: usize, machine: impl Fn(usize, usize) -> (f64, f64)) -> Vec<usize> {
        let mut choice = Choice::new(most, most);
        (0..windows)
            .map(|i| {
                let (seconds, waited) = machine(choice.threads, i);
                choice.window(seconds, waited);
                choice.threads
            })
            .collect()
    }

    #[test]
    fn a_machine_of_its_own_keeps_all_threads() {
        assert_eq!(counts(8, 200, |_, i| (1.0 + 0.3 * (i % 3) as f64, 0.02)), [8; 200]);
    }

    #[test]
    fn beside_busy_programs_fewer_threads_are_used_where_they_are_faster() {
        // Two cores, two other programs: two threads wait half of their time, one a third of it.
        let busy = |threads, _| if threads == 2 { (1.4, 0.5) } else { (0.33, 0.33) };
        assert_eq!(counts(2, 50, busy), [1; 50]);
    }

    #[test]
    fn where_fewer_threads_are_slower_the_count_goes_back_and_tries_become_rare() {
        let slower = |threads, _| if threads == 2 { (1.0, 0.3) } else { (1.6, 0.3) };
        let counts = counts(2, 400, slower);
        let tries = counts.iter().filter(|n| **n == 1).count();
        assert!((5..=12).contains(&tries), "{tries}");
        assert_eq!(counts[1], 2);
    }

    #[test]
    fn all_threads_come_back_when_the_others_are_done() {
        let machine = |threads, i| match (threads, i < 20) {
            (2, true) => (1.4, 0.5),
            (_, true) => (0.33, 0.33),
            (2, false) => (0.28, 0.0),
            (_, false) => (0.5, 0.0),
        };
        let counts = counts(2, 40, machine);
        assert_eq!((counts[19], counts[39]), (1, 2));
    }

    #[test]
    fn of_many_threads_as_many_stay_as_have_a_core() {
        // 16 cores, 8 busy programs: a third of the time of 16 threads is lost.
        let counts = counts(16, 2, |threads, _| if threads == 16 { (2.0, 0.34) } else { (1.0, 0.1) });
        assert_eq!(counts, [10, 10]);
    }

    #[test]
    fn a_kept_change_says_why_and_how_to_stop_it() {
        let kept = Kept { from: 2, to: 1, gain: 4.2 };
        assert_eq!(
            kept.describe(2),
            "other programs use the CPU: now using 1 thread instead of 2, 4.2 times as fast (--threads 2 keeps 2)"
        );
        assert!(
            Kept { from: 1, to: 2, gain: 1.5 }
                .describe(2)
                .starts_with("the CPU is free again: now using 2 threads instead of 1")
        );
    }

    #[test]
    fn a_window_has_three_measurements_of_two_seconds_or_one_that_is_long() {
        let full_after = |seconds: f64| {
            let mut window = Window::new();
            let took = Duration::from_secs_f64(seconds);
            (1..20).find(|_| window.add(1.0, took, 2, || Some(Duration::ZERO)).is_some())
        };
        // One more than counts: the first is the warm-up.
        assert_eq!([0.5, 1.0, 5.0].map(full_after), [Some(5), Some(4), Some(2)]);
    }

    #[test]
    fn a_stage_that_begins_with_fewer_threads_comes_back_to_all() {
        let mut choice = Choice::new(16, 10);
        assert_eq!(choice.window(1.0, 0.0), None);
        assert_eq!(choice.threads, 16);
        assert_eq!(choice.window(0.7, 0.0).map(|kept| (kept.from, kept.to)), Some((10, 16)));
    }

    #[test]
    fn work_begins_with_few_threads_only_on_a_crowded_machine() {
        for (most, idle, few) in [
            (2, 0.0, Some(1)),
            (2, 0.3, Some(1)),
            (2, 0.5, None),
            (2, 1.0, None),
            (16, 0.25, Some(4)),
            (16, 0.9, None),
            (1, 0.0, None),
        ] {
            assert_eq!(few_threads(most, idle), few, "{most} threads, {idle} idle");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_idle_share_of_the_cores_is_a_share() {
        let idle = idle_share(Duration::from_millis(20)).unwrap_or(1.0);
        assert!((0.0..=1.0).contains(&idle), "{idle}");
    }

    #[test]
    fn a_thread_count_that_was_given_stays() {
        runtime::set_threads(runtime::threads());
        assert!(Pace::new().waited.is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_without_a_core_is_known_on_linux_and_only_grows() {
        let before = waited().unwrap();
        assert!(waited().unwrap() >= before);
    }
}
