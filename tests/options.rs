//! The clip options beyond RVC's rule: cutting, loudness, noise suppression, voice detection;
//! and that a change of any of these reruns exactly the stages that depend on it.
//!
//! The speech is the quickstart's; noise, tones and music are made here.

#![allow(clippy::float_cmp, reason = "samples that an option must not change are equal to the bit")]

use crate::support::speech::voice_like;
use rvc_run::assets::Store;
use rvc_run::audio::activity::Activity;
use rvc_run::audio::slice::{self, Reason};
use rvc_run::audio::{Audio, denoise, filter, io, loudness, normalize};
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::config::choices::{F0Method, Normalization, Numbering, Slicing};
use rvc_run::features::Models;
use rvc_run::files::{self, Workspace};
use rvc_run::prepare::{self, Clips, survey};
use rvc_run::task::{Event, Task};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const RATE: u32 = 32000;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config =
        Config { sample_rate: i64::from(RATE), segment_size: 12800, f0_method: F0Method::Yin, ..Config::default() };
    change(&mut config);
    config.validate().unwrap();
    config
}

/// 7 to 8 s of read speech without noise, at 22050 Hz.
fn speech(who: &str, number: u32) -> Audio {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/quickstart/{who}/0{number}.flac"));
    io::load(&path).unwrap()
}

fn sound(samples: Vec<f32>, sample_rate: u32) -> Audio {
    Audio { samples, sample_rate }
}

/// Even noise between -1 and 1.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    };
    (0..n).map(|_| next()).collect()
}

fn sine(hz: f64, amplitude: f64, seconds: f64, rate: u32) -> Vec<f32> {
    let at = |i: usize| (std::f64::consts::TAU * hz * i as f64 / f64::from(rate)).sin();
    (0..(seconds * f64::from(rate)) as usize).map(|i| (amplitude * at(i)) as f32).collect()
}

fn scaled(audio: &Audio, gain: f32) -> Audio {
    sound(audio.samples.iter().map(|x| x * gain).collect(), audio.sample_rate)
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len() as f64
}

/// `clean` with white noise at this SNR.
fn noisy(clean: &Audio, snr_db: f64, seed: u32) -> Audio {
    let noise = noise(clean.samples.len(), seed);
    let gain = (power(&clean.samples) / power(&noise) / 10f64.powf(snr_db / 10.0)).sqrt() as f32;
    sound(clean.samples.iter().zip(&noise).map(|(x, n)| x + gain * n).collect(), clean.sample_rate)
}

/// The difference between `made` and `clean`, in dB below `clean`.
fn snr_db(clean: &Audio, made: &Audio) -> f64 {
    let rest: Vec<f32> = clean.samples.iter().zip(&made.samples).map(|(a, b)| a - b).collect();
    10.0 * (power(&clean.samples) / power(&rest)).log10()
}

fn db(factor: f64) -> f64 {
    20.0 * factor.log10()
}

fn peak(samples: &[f32]) -> f64 {
    samples.iter().fold(0.0, |peak, x| peak.max(f64::from(x.abs())))
}

fn without_noise(audio: &Audio, strength: f64) -> Audio {
    denoise::denoise(audio.clone(), strength, || Ok(())).unwrap()
}

fn cut(audio: &Audio, config: &Config) -> slice::Cut {
    slice::cut(&slice::ready(audio.clone(), config, || Ok(())).unwrap(), config).unwrap()
}

fn ffmpeg(args: &[&str]) -> Option<String> {
    let ran = Command::new("ffmpeg").args(["-hide_banner", "-nostats"]).args(args).output().ok()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Some(String::from_utf8_lossy(&ran.stderr).into_owned())
}

// ---- loudness

/// EBU Tech 3341 allows a meter 0.1 LU.
const METER_LU: f64 = 0.1;

#[test]
fn the_standards_tone_has_its_loudness() {
    for dbfs in [-23.0, -40.0] {
        let tone = sine(997.0, 10f64.powf(dbfs / 20.0), 5.0, 48000);
        let lufs = loudness::integrated(&tone, 48000).unwrap();
        // BS.1770-4: a 997 Hz sine of full scale in one channel reads -3.01.
        assert!((lufs - (dbfs - 3.01)).abs() < METER_LU, "{lufs} for {dbfs} dB");
    }
    assert_eq!(loudness::integrated(&vec![0.0f32; 48000], 48000), None);
    assert_eq!(loudness::integrated(&sine(997.0, 0.5, 0.3, 48000), 48000), None, "below a block of 0.4 s");
    let short = loudness::of_any_length(&sine(997.0, 1.0, 0.3, 48000), 48000).unwrap();
    assert!((short + 3.01).abs() < 0.2, "{short}");
}

#[test]
fn the_peak_between_samples_is_found() {
    // A quarter of the rate, 45 degrees off: every sample is at 0.707 of the wave.
    let wave = |i: usize| (std::f64::consts::FRAC_PI_2 * i as f64 + std::f64::consts::FRAC_PI_4).sin();
    let tone: Vec<f32> = (0..48000).map(|i| (0.5 * wave(i)) as f32).collect();
    assert!(peak(&tone) < 0.354);
    let found = loudness::true_peak(&tone, 48000);
    // Its beginning and end are steps, which overshoot.
    assert!((0.49..0.56).contains(&found), "{found}");
}

#[test]
fn ffmpeg_measures_the_requested_loudness() {
    let folder = tempfile::tempdir().unwrap();
    for (name, audio) in
        [("tone", sound(sine(997.0, 0.5, 5.0, RATE), RATE)), ("speech", speech("anna", 1).at_rate(RATE))]
    {
        let settings = config(|c| (c.normalization, c.target_lufs) = (Normalization::Lufs, -23.0));
        let levelled = normalize::normalize(&audio, &settings);
        let path = folder.path().join(format!("{name}.wav"));
        io::write_wav(&path, &levelled.samples, RATE).unwrap();
        let file = path.to_str().unwrap();
        let Some(text) = ffmpeg(&["-i", file, "-af", "ebur128=peak=true", "-f", "null", "-"]) else {
            return println!("skipped: there is no ffmpeg");
        };
        let summary = text.rsplit("Summary:").next().unwrap();
        let value = |label: &str| -> f64 {
            let line = summary.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
            line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
        };
        println!("{name}: ffmpeg {} LUFS, true peak {} dB", value("I:"), value("Peak:"));
        assert!((value("I:") + 23.0).abs() <= METER_LU, "{summary}");
        let own = db(loudness::true_peak(&levelled.samples, RATE));
        // ffmpeg interpolates differently and prints one digit.
        assert!((value("Peak:") - own).abs() < 0.3, "{own} dB, but {summary}");
    }
}

#[test]
fn recordings_of_any_loudness_are_matched_and_keep_their_dynamics() {
    let settings = config(|c| (c.normalization, c.target_lufs) = (Normalization::Lufs, -23.0));
    let (first, second) = (speech("anna", 1), speech("anna", 2));
    for gain in [1.0, 0.2] {
        let clips = cut(&scaled(&first, gain), &settings).clips;
        let all: Vec<f32> = clips.iter().flat_map(|clip| clip.gt.clone()).collect();
        let lufs = loudness::integrated(&all, RATE).unwrap();
        // Pauses at the ends of slices are cut away, and clips overlap: not quite the recording that was measured.
        assert!((lufs + 23.0).abs() < 0.5, "{lufs} LUFS at a gain of {gain}");
        assert!(clips.iter().all(|clip| clip.held_db == 0.0));
    }
    // Half of a recording at a tenth of the level: still a tenth afterwards.
    let quiet = scaled(&second, 0.1);
    let both = sound([first.samples, quiet.samples].concat(), 22050);
    let whole = config(|c| (c.normalization, c.slicing) = (Normalization::Lufs, Slicing::None));
    let as_is = Config { normalization: Normalization::None, ..whole.clone() };
    let (levelled, own) = (cut(&both, &whole), cut(&both, &as_is));
    let ratio = |i: usize| f64::from(levelled.clips[0].gt[i] / own.clips[0].gt[i]);
    let loud = (0..RATE as usize).max_by(|a, b| own.clips[0].gt[*a].total_cmp(&own.clips[0].gt[*b])).unwrap();
    let end = own.clips[0].gt.len();
    let soft =
        (end - 4 * RATE as usize..end).max_by(|a, b| own.clips[0].gt[*a].total_cmp(&own.clips[0].gt[*b])).unwrap();
    assert!((ratio(loud) / ratio(soft) - 1.0).abs() < 1e-5, "{} and {}", ratio(loud), ratio(soft));
}

#[test]
fn a_click_is_kept_below_full_scale_and_only_its_clip_is_quieter() {
    let mut audio = scaled(&speech("anna", 1), 0.01).at_rate(RATE);
    audio.samples[RATE as usize] = 0.2;
    let settings =
        config(|c| (c.normalization, c.slicing, c.slice_seconds) = (Normalization::Lufs, Slicing::Fixed, 2.0));
    let clips = cut(&audio, &settings).clips;
    let held: Vec<bool> = clips.iter().map(|clip| clip.held_db > 0.0).collect();
    assert_eq!(held.iter().filter(|held| **held).count(), 1, "{held:?}");
    for clip in &clips {
        let dbtp = db(loudness::true_peak(&clip.gt, RATE));
        assert!(dbtp < -1.0 + 1e-3, "{dbtp} dB");
    }
    assert!(clips[0].held_db > 3.0, "{}", clips[0].held_db);
}

#[test]
fn peaks_reach_the_target_and_none_changes_nothing() {
    let audio = speech("ben", 1).at_rate(RATE);
    let to_peak = config(|c| (c.normalization, c.target_peak_dbfs) = (Normalization::Peak, -6.0));
    for clip in cut(&audio, &to_peak).clips {
        assert!((db(peak(&clip.gt)) + 6.0).abs() < 1e-4, "{} dB", db(peak(&clip.gt)));
    }
    let filtered = filter::highpass(&audio.samples, RATE);
    for clip in cut(&audio, &config(|c| c.normalization = Normalization::None)).clips {
        let there = &filtered[clip.start..clip.start + clip.gt.len()];
        assert!(clip.gt.iter().zip(there).all(|(x, y)| *x == *y as f32));
    }
}

#[test]
fn silence_stays_silence_at_any_level() {
    let silent = sound(vec![0.0; 2 * RATE as usize], RATE);
    for how in [Normalization::Rvc, Normalization::Peak, Normalization::Lufs, Normalization::None] {
        let settings = config(|c| c.normalization = how);
        assert_eq!(normalize::normalize(&silent, &settings), silent, "{how}");
        let cut = cut(&silent, &settings);
        assert!(cut.clips.is_empty() && cut.dropped[0].reason == Reason::Silent, "{how}: {:?}", cut.dropped);
    }
}

#[test]
fn a_recording_too_quiet_for_a_loudness_is_left_out_as_silent() {
    // Peaks of -77 dB: above RVC's limit for silence, and below -70 LUFS.
    let audio = scaled(&speech("anna", 1), 0.0002);
    let by = |how: Normalization| cut(&audio, &config(|c| (c.slicing, c.normalization) = (Slicing::None, how)));
    assert_eq!(by(Normalization::Rvc).clips.len(), 1);
    let by_loudness = by(Normalization::Lufs);
    assert!(by_loudness.clips.is_empty());
    assert_eq!(by_loudness.dropped[0].reason, Reason::Silent);
}

// ---- noise

#[test]
fn noise_is_removed_from_speech() {
    // Measured: 0 dB becomes 9.3 to 10.9, 10 becomes 15.3 to 16.5. The margin allows for another machine's rounding.
    for (who, number) in [("anna", 1), ("ben", 2)] {
        let clean = speech(who, number).at_rate(48000);
        for (before, at_least) in [(0.0, 8.0), (10.0, 14.0)] {
            let after = snr_db(&clean, &without_noise(&noisy(&clean, before, 7), 1.0));
            println!("{who}: {before} dB -> {after:.1} dB");
            assert!(after > at_least, "{who}: {after:.1} dB of {before}");
        }
    }
}

#[test]
fn suppression_shifts_nothing_at_any_rate() {
    for rate in [16000, 22050, 44100, 48000] {
        let clean = speech("anna", 1).at_rate(rate);
        let made = without_noise(&noisy(&clean, 15.0, 3), 1.0);
        assert_eq!(made.samples.len(), clean.samples.len());
        assert_eq!(made.sample_rate, rate);
        // A second in the middle.
        let middle = rate as usize * 3..rate as usize * 4;
        let likeness = |shift: i64| -> f64 {
            middle.clone().map(|i| f64::from(clean.samples[i] * made.samples[(i as i64 + shift) as usize])).sum()
        };
        let shifts = (-600..=600).map(|shift| (likeness(shift), shift));
        let (_, best) = shifts.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        assert_eq!(best, 0, "at {rate} Hz");
    }
}

#[test]
fn a_share_of_the_suppression_is_a_mix() {
    let noisy = noisy(&speech("anna", 3).at_rate(48000), 5.0, 5);
    let (all, half, nothing) = (without_noise(&noisy, 1.0), without_noise(&noisy, 0.5), without_noise(&noisy, 0.0));
    assert_eq!(nothing, noisy);
    for ((x, y), mixed) in noisy.samples.iter().zip(&all.samples).zip(&half.samples) {
        assert!((mixed - (x + y) / 2.0).abs() < 1e-6);
    }
}

#[test]
fn a_sound_of_any_length_keeps_it() {
    for n in [0, 1, 479, 480, 481, 960, 1000] {
        let made = without_noise(&sound(noise(n, 1), 48000), 1.0);
        assert_eq!(made.samples.len(), n);
    }
}

#[test]
fn a_broken_sample_breaks_only_its_own_clip() {
    let mut audio = speech("anna", 1);
    audio.samples[22050] = f32::NAN;
    let settings = config(|c| (c.slicing, c.slice_seconds, c.noise_reduction) = (Slicing::Fixed, 2.0, 0.8));
    let cut = cut(&audio, &settings);
    let reasons: Vec<Reason> = cut.dropped.iter().map(|dropped| dropped.reason).collect();
    assert_eq!(reasons, [Reason::NotFinite]);
    assert!(cut.clips.len() >= 4 && cut.clips.iter().all(|clip| clip.gt.iter().all(|x| x.is_finite())));
}

#[test]
fn cancelling_ends_the_suppression() {
    let error = denoise::denoise(speech("anna", 1), 1.0, || Err(rvc_run::Error::cancelled())).unwrap_err();
    assert_eq!(error.kind(), rvc_run::Kind::Cancelled);
}

// ---- voice

fn voice_share(audio: &Audio) -> f64 {
    Activity::new(&audio.samples, audio.sample_rate).total_share()
}

/// Three notes together, struck twice a second and fading.
fn chords(seconds: f64) -> Vec<f32> {
    let at = |t: f64, hz: f64| (std::f64::consts::TAU * hz * t).sin();
    (0..(seconds * 48000.0) as usize)
        .map(|i| {
            let t = i as f64 / 48000.0;
            (0.1 * (at(t, 262.0) + at(t, 330.0) + at(t, 392.0)) * (-3.0 * (t % 0.5)).exp()) as f32
        })
        .collect()
}

/// Noise that falls by 6 dB an octave: wind, traffic.
fn rumble(n: usize) -> Vec<f32> {
    let mut level = 0.0;
    noise(n, 11)
        .into_iter()
        .map(|x| {
            level = 0.99 * level + 0.05 * x;
            level
        })
        .collect()
}

#[test]
fn speech_is_distinguished_from_noise_music_and_silence_at_any_level() {
    for gain in [1.0, 0.1, 0.01] {
        for who in ["anna", "ben"] {
            for number in if gain == 1.0 { 1..=6 } else { 1..=1 } {
                let share = voice_share(&scaled(&speech(who, number), gain));
                assert!(share > 0.7, "{who} {number} at {gain}: {share}");
            }
        }
        let others = [
            ("white noise", noise(480_000, 1)),
            ("rumble", rumble(480_000)),
            ("hum", sine(50.0, 0.3, 10.0, 48000)),
            ("tone", sine(440.0, 0.3, 10.0, 48000)),
            ("chords", chords(10.0)),
        ];
        for (name, samples) in others {
            let share = voice_share(&scaled(&sound(samples, 48000), gain));
            println!("{name} at {gain}: {share:.3}");
            assert!(share < 0.15, "{name} at {gain}: {share}");
        }
    }
    assert_eq!(voice_share(&sound(vec![0.0; 48000], 48000)), 0.0);
    assert_eq!(voice_share(&sound(Vec::new(), 48000)), 0.0);
    let in_noise = voice_share(&noisy(&speech("anna", 2), 10.0, 2));
    assert!(in_noise > 0.6, "{in_noise}");
}

#[test]
fn clips_without_voice_are_left_out_and_the_others_unchanged() {
    // 4 s of noise at the level of speech, speech, 4 s of noise.
    let said = speech("ben", 1).at_rate(RATE);
    let between = |seed| noise(4 * RATE as usize, seed).into_iter().map(|x| 0.1 * x).collect::<Vec<f32>>();
    let audio = sound([between(1), said.samples.clone(), between(2)].concat(), RATE);
    let all = config(|c| (c.slicing, c.slice_seconds, c.overlap_seconds) = (Slicing::Fixed, 2.0, 0.0));
    let some = Config { min_voice_share: 0.3, ..all.clone() };
    let (before, after) = (cut(&audio, &all), cut(&audio, &some));
    let dropped: Vec<f64> = after.dropped.iter().map(|dropped| dropped.start_seconds).collect();
    assert!(after.dropped.iter().all(|dropped| dropped.reason == Reason::NoVoice), "{:?}", after.dropped);
    // The speech is from 4 to 11.8 s: clip 5 (10 s) is mostly speech, clip 6 (12 s) is noise.
    assert_eq!(dropped, [0.0, 2.0, 12.0, 14.0]);
    let kept: Vec<_> = before.clips.into_iter().filter(|clip| (2..6).contains(&clip.index)).collect();
    assert_eq!(after.clips, kept);
}

// ---- cutting

#[test]
fn fixed_slices_have_the_set_length_and_overlap_and_the_rest_is_kept() {
    let audio = sound(noise(RATE as usize * 10 + 12345, 4), RATE);
    for (seconds, overlap) in [(3.0, 0.5), (2.3, 0.0), (3.7, 0.3), (10.0, 1.0)] {
        let settings = config(|c| {
            (c.slicing, c.normalization) = (Slicing::Fixed, Normalization::None);
            (c.slice_seconds, c.overlap_seconds) = (seconds, overlap);
        });
        let cut = cut(&audio, &settings);
        let (length, shared) =
            ((seconds * f64::from(RATE)).round() as usize, (overlap * f64::from(RATE)).round() as usize);
        assert!(cut.dropped.is_empty(), "{:?}", cut.dropped);
        for (i, clip) in cut.clips.iter().enumerate() {
            assert_eq!((clip.index, clip.start), (i, i * (length - shared)));
        }
        let (last, full) = cut.clips.split_last().unwrap();
        assert!(full.iter().all(|clip| clip.gt.len() == length));
        assert_eq!(last.start + last.gt.len(), audio.samples.len(), "to the last sample");
        assert!(last.gt.len() > shared && last.gt.len() <= length, "the rest is new, and not longer than a clip");
        assert_eq!(last.wav16.len(), (last.gt.len() * 16000).div_ceil(RATE as usize));
    }
}

#[test]
fn a_rest_below_the_shortest_clip_is_dropped_with_its_reason() {
    let audio = sound(noise(RATE as usize * 7, 4), RATE);
    let settings = config(|c| {
        (c.slicing, c.slice_seconds, c.overlap_seconds, c.min_slice_seconds) = (Slicing::Fixed, 3.0, 0.0, 2.0);
    });
    let cut = cut(&audio, &settings);
    assert_eq!(cut.clips.len(), 2);
    assert_eq!(cut.dropped.len(), 1);
    let rest = &cut.dropped[0];
    assert_eq!((rest.reason, rest.start_seconds, rest.seconds), (Reason::TooShort, 6.0, 1.0));
}

#[test]
fn without_slicing_a_recording_is_one_clip() {
    let audio = speech("anna", 1).at_rate(RATE);
    let cut = cut(&audio, &config(|c| c.slicing = Slicing::None));
    assert_eq!(cut.clips.len(), 1);
    assert_eq!((cut.clips[0].start, cut.clips[0].gt.len()), (0, audio.samples.len()));
}

#[test]
fn bounded_slices_are_within_their_bounds_and_lose_only_short_rests() {
    // Pauses of 0.6 s every 3 s, and a steady part of 25 s that no silence ends.
    let mut samples = voice_like(30.0, 130.0);
    samples.extend(sine(300.0, 0.3, 25.0, RATE));
    samples.extend(vec![0.0; RATE as usize]);
    samples.extend(voice_like(15.0, 210.0));
    let audio = sound(samples, RATE);
    for (shortest, longest) in [(3.0, 10.0), (1.5, 3.7), (4.0, 8.0)] {
        let settings = config(|c| (c.min_slice_seconds, c.slice_seconds) = (shortest, longest));
        let cut = cut(&audio, &settings);
        let seconds: Vec<f64> = cut.clips.iter().map(|clip| clip.gt.len() as f64 / f64::from(RATE)).collect();
        println!("{shortest} to {longest} s: {seconds:.2?}, dropped {:?}", cut.dropped);
        assert!(seconds.len() > 7);
        assert!(seconds.iter().all(|s| (shortest..=longest).contains(s)), "{seconds:?}");
        assert!(cut.dropped.iter().all(|dropped| dropped.reason == Reason::TooShort && dropped.seconds < shortest));
        assert!(cut.dropped.iter().map(|dropped| dropped.seconds).sum::<f64>() < shortest, "{:?}", cut.dropped);
        // Clips of one slice overlap by the requested amount, or a little more.
        let overlaps = cut.clips.windows(2).map(|pair| {
            let end = pair[0].start + pair[0].gt.len();
            end as f64 / f64::from(RATE) - pair[1].start as f64 / f64::from(RATE)
        });
        assert!(
            overlaps.clone().all(|overlap| overlap <= 0.0 || (0.3 - 1e-9..0.4).contains(&overlap)),
            "{:?}",
            overlaps.collect::<Vec<_>>()
        );
    }
}

// ---- stages

struct Room {
    _folder: tempfile::TempDir,
    workspace: Workspace,
    warnings: Arc<Mutex<Vec<String>>>,
    task: Task,
}

/// A voice with this many recordings of speech, each of `seconds`.
fn room(recordings: u32, seconds: f64) -> Room {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("work"));
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let ear = warnings.clone();
    let task = Task::new(2, move |event| {
        if let Event::Warning(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    let room = Room { _folder: folder, workspace, warnings, task };
    files::create_folder(&room.data()).unwrap();
    for number in 1..=recordings {
        let part = speech("anna", number).part(0.5, seconds);
        room.record(&format!("{number}.wav"), &part);
    }
    room
}

/// Runs of each stage: decode and slices in recordings, f0 and content in clips.
type Done = (usize, usize, usize, usize);
const NOTHING: Done = (0, 0, 0, 0);

impl Room {
    fn data(&self) -> PathBuf {
        self.workspace.data("anna").unwrap()
    }

    fn record(&self, name: &str, audio: &Audio) {
        io::write_wav(&self.data().join(name), &audio.samples, audio.sample_rate).unwrap();
    }

    fn cache(&self) -> Cache {
        Cache::open(self.workspace.cache()).unwrap()
    }

    fn slices(&self, config: &Config) -> Clips {
        prepare::slices(&self.task, &self.workspace, &self.cache(), "anna", Path::new("data/anna"), config).unwrap()
    }

    /// The stages that ran, and the digest of the present training data.
    fn run(&self, config: &Config) -> (Done, String) {
        let models = Models::new(Store::new(&self.workspace));
        let mut clips = self.slices(config);
        let (decoded, sliced) = (clips.decoded, clips.counts.done);
        let f0 = prepare::f0(&self.task, &mut clips, &models, config).unwrap().done;
        let content = prepare::content(&self.task, &mut clips, &models, config).unwrap().done;
        let list = prepare::filelist(&self.task, &mut clips, &models, config).unwrap();
        ((decoded, sliced, f0, content), list.content_root)
    }

    fn list(&self) -> String {
        files::read_text(&self.workspace.logs("anna").unwrap().join("filelist.txt")).unwrap()
    }

    fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap())
    }
}

/// A change of one setting, the settings before it, the stages it runs, and whether the training data differ after it.
type Change = (&'static str, fn(&mut Config), fn(&mut Config), Done, bool);

const RECORDINGS: usize = 2;
/// Each recording of 2 s is one clip.
const ALL: Done = (0, RECORDINGS, RECORDINGS, RECORDINGS);
/// Cut again to the same samples: their later results are found in the cache.
const CUT_AGAIN: Done = (0, RECORDINGS, 0, 0);

const CHANGES: [Change; 19] = [
    ("slicing fixed", |_| {}, |c| c.slicing = Slicing::Fixed, CUT_AGAIN, true),
    ("slicing none", |_| {}, |c| c.slicing = Slicing::None, CUT_AGAIN, true),
    ("min_slice_seconds", |_| {}, |c| c.min_slice_seconds = 1.0, CUT_AGAIN, true),
    ("slice_seconds without slicing", |c| c.slicing = Slicing::None, |c| c.slice_seconds = 5.0, NOTHING, false),
    ("overlap_seconds without slicing", |c| c.slicing = Slicing::None, |c| c.overlap_seconds = 0.1, NOTHING, false),
    ("numbering of fixed slices", |c| c.slicing = Slicing::Fixed, |c| c.numbering = Numbering::Rvc, NOTHING, false),
    ("normalization peak", |_| {}, |c| c.normalization = Normalization::Peak, ALL, true),
    ("normalization lufs", |_| {}, |c| c.normalization = Normalization::Lufs, ALL, true),
    ("normalization none", |_| {}, |c| c.normalization = Normalization::None, ALL, true),
    ("target_lufs", |c| c.normalization = Normalization::Lufs, |c| c.target_lufs = -26.0, ALL, true),
    ("target_lufs of peaks", |c| c.normalization = Normalization::Peak, |c| c.target_lufs = -26.0, NOTHING, false),
    ("target_lufs by RVC's rule", |_| {}, |c| c.target_lufs = -26.0, NOTHING, false),
    ("target_peak_dbfs", |c| c.normalization = Normalization::Peak, |c| c.target_peak_dbfs = -3.0, ALL, true),
    ("target_peak_dbfs by RVC's rule", |_| {}, |c| c.target_peak_dbfs = -3.0, NOTHING, false),
    ("noise_reduction", |_| {}, |c| c.noise_reduction = 0.8, ALL, true),
    ("more noise_reduction", |c| c.noise_reduction = 0.8, |c| c.noise_reduction = 0.9, ALL, true),
    ("min_voice_share", |_| {}, |c| c.min_voice_share = 0.3, CUT_AGAIN, true),
    ("mute_clips", |_| {}, |c| c.mute_clips = 5, NOTHING, true),
    ("no mute_clips", |_| {}, |c| c.mute_clips = 0, NOTHING, true),
];

#[test]
fn a_changed_option_reruns_the_needed_stages_and_a_change_back_none() {
    let mut wrong = Vec::new();
    for (name, from, change, expected, differs) in CHANGES {
        let room = room(RECORDINGS as u32, 2.0);
        let before = config(from);
        let mut after = before.clone();
        change(&mut after);
        let (first, root) = room.run(&before);
        assert_eq!(first, (RECORDINGS, RECORDINGS, RECORDINGS, RECORDINGS), "{name}");
        let list = room.list();
        let (ran, changed) = room.run(&after);
        let (again, _) = room.run(&after);
        let (back, root_again) = room.run(&before);
        if (ran, again, back) != (expected, NOTHING, NOTHING) || (changed != root) != differs || root_again != root {
            wrong.push(format!("{name}: {ran:?}, then {again:?}, back {back:?}; data differ: {}", changed != root));
        }
        assert_eq!(room.list(), list, "{name}: the list is unchanged");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_key_of_rvcs_slices_contains_no_option() {
    let room = room(1, 3.0);
    room.run(&config(|_| {}));
    let stored = room.cache().stored().unwrap();
    let slices = stored.iter().find(|entry| entry.key.stage() == "slices").unwrap();
    let names: BTreeSet<&str> = slices.key.params().keys().map(String::as_str).collect();
    let expected = ["max_peak", "numbering", "overlap_seconds", "sample_rate", "slice_seconds"];
    assert_eq!(names, BTreeSet::from(expected), "another name would invalidate everything that users have cached");
}

#[test]
fn explain_finds_the_slices_of_every_option() {
    let options = config(|c| {
        (c.slicing, c.normalization) = (Slicing::None, Normalization::Lufs);
        (c.noise_reduction, c.min_voice_share) = (0.5, 0.3);
    });
    let room = room(1, 3.0);
    room.run(&options);
    let file = room.data().join("1.wav");
    let lines = prepare::inspect::explain(&room.task, &room.workspace, &room.cache(), &file).unwrap();
    let states: Vec<(&str, &str)> = lines.iter().map(|line| (line.stage.as_str(), line.state)).collect();
    assert!(states.iter().all(|(_, state)| *state == "hit"), "{states:?}");
    assert!(states.iter().any(|(stage, _)| *stage == "slices"), "{states:?}");
}

#[test]
fn the_list_has_the_requested_number_of_silent_rows() {
    let room = room(1, 3.0);
    for (mute_clips, rows) in [(2, 2), (0, 0), (7, 7)] {
        room.run(&config(|c| c.mute_clips = mute_clips));
        assert_eq!(room.list().lines().filter(|line| line.contains("/mute/")).count(), rows);
    }
}

#[test]
fn the_report_names_clips_left_out_and_sound_not_trained_on() {
    let room = room(2, 6.0);
    room.record("noise.wav", &sound(noise(5 * 22050, 3).into_iter().map(|x| 0.1 * x).collect(), 22050));
    let long = [speech("anna", 3).samples, speech("anna", 4).samples].concat();
    let long = sound(long, 22050);
    let beyond = long.seconds() - 9.0;
    room.record("long.wav", &long);
    let clips = room.slices(&config(|c| (c.slicing, c.min_voice_share) = (Slicing::None, 0.3)));
    assert_eq!(clips.clips.len(), 3);
    let report = survey::folder(&room.task, &room.workspace, &room.cache(), Path::new("data/anna")).unwrap();
    let report = report.with_clips_of(&clips).unwrap();
    let kept = report.clips.as_ref().unwrap();
    assert_eq!(kept.dropped.len(), 1, "{:?}", kept.dropped);
    let loss = &kept.dropped[0];
    assert_eq!((loss.reason.as_str(), loss.count, loss.seconds), ("without voice", 1, 5.0));
    assert!((kept.seconds_not_trained - beyond).abs() < 0.01, "{} of {beyond}", kept.seconds_not_trained);
    let lines = report.lines().join("\n");
    assert!(lines.contains("not used: 1 without voice (5.0 s)"), "{lines}");
    assert!(lines.contains("not trained on: 5"), "{lines}");
    let warnings = room.warnings().join("\n");
    assert!(warnings.contains("noise.wav is skipped") && warnings.contains("1 without voice"), "{warnings}");
    assert!(warnings.contains("1 clip is longer than the 9 s"), "{warnings}");
}

#[test]
fn clips_limited_by_their_peaks_are_reported() {
    let room = room(1, 4.0);
    let mut clicked = scaled(&speech("anna", 2), 0.01);
    clicked.samples[22050] = 0.2;
    room.record("click.wav", &clicked);
    let settings = config(|c| (c.normalization, c.slicing) = (Normalization::Lufs, Slicing::None));
    for _ in 0..2 {
        // The second time from the cache.
        room.slices(&settings);
        let warnings = room.warnings().join("\n");
        assert!(warnings.contains("1 clip is up to ") && warnings.contains("quieter than -23 LUFS"), "{warnings}");
    }
}
