//! Pages of runs: honest about every log, safe with hostile text, light with many steps, and complete without a network.

use base64::Engine;
use rvc_run::Kind;
use rvc_run::audio::{io, picture};
use rvc_run::files::{self, Workspace};
use rvc_run::report;
use rvc_run::track;
use serde_json::{Value, json};
use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::path::Path;

pub const RUN: &str = "20261122-213011-042-anna-9f3c";
/// 2026-11-22 21:30:11 UTC.
const START: f64 = 1_795_383_011.0;

/// An event log in the making; see src/track/mod.rs for its lines.
pub struct Log {
    text: String,
    /// Seconds since the run began, and since the process did.
    now: f64,
    elapsed: f64,
}

impl Log {
    fn empty() -> Self {
        Self { text: String::new(), now: 0.0, elapsed: 0.0 }
    }

    fn started() -> Self {
        let mut log = Self::empty();
        log.line("start", &start("anna", &json!({ "epochs": 30, "batch_size": 4, "gpu": false })));
        log
    }

    fn line(&mut self, kind: &str, fields: &Value) {
        let mut line = json!({ "type": kind, "time": START + self.now, "elapsed": self.elapsed });
        line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        writeln!(self.text, "{line}").unwrap();
    }

    fn event(&mut self, name: &str, data: &Value) {
        self.line("event", &json!({ "event": name, "data": data }));
    }

    fn metrics(&mut self, step: i64, metrics: &Value) {
        self.line("metrics", &json!({ "step": step, "metrics": metrics }));
    }

    fn wait(&mut self, seconds: f64) {
        self.now += seconds;
        self.elapsed += seconds;
    }

    fn save(&self, workspace: &Workspace, run: &str) {
        let path = workspace.tracking().join("events").join(format!("{run}.jsonl"));
        files::write(&path, &self.text).unwrap();
    }
}

fn start(name: &str, params: &Value) -> Value {
    json!({
        "schema": 1, "run": RUN, "name": name, "tool_version": "0.1.0", "params": params,
        "tags": { "mlflow.source.name": "recipes/train_voice.rhai", "rvc_run.libtorch": "2.11.0", "rvc_run.host": "box" },
    })
}

fn workspace() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path());
    (folder, workspace)
}

fn page(workspace: &Workspace) -> String {
    read(&report::write(workspace, RUN).unwrap())
}

/// A page, with the characters of paths and digests that need no escaping as they are.
fn read(path: &Path) -> String {
    files::read_text(path).unwrap().replace("&#x2f;", "/").replace("&#x27;", "'")
}

/// What the page's script reads.
fn data(page: &str) -> Value {
    let json = page.split_once(r#"<script type="application/json" id="data">"#).unwrap().1;
    serde_json::from_str(json.split_once("</script>").unwrap().0).unwrap()
}

fn series<'a>(data: &'a Value, name: &str) -> &'a Value {
    let all = data["charts"].as_array().unwrap().iter().flat_map(|chart| chart["series"].as_array().unwrap());
    all.into_iter().find(|series| series["name"] == name).unwrap_or_else(|| panic!("no curve {name}"))
}

/// A gliding voice-like sound.
pub fn voice(seconds: f64, sample_rate: u32, noise: f64) -> Vec<f32> {
    let (mut phase, mut random) = (0.0, 1u32);
    let sample = |i: usize| {
        let time = i as f64 / f64::from(sample_rate);
        phase += (160.0 + 50.0 * (3.0 * time).sin()) / f64::from(sample_rate);
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let white = f64::from(random >> 8) / f64::from(1u32 << 23) - 1.0;
        let tone: f64 = (1..25).map(|k| (TAU * phase * f64::from(k)).sin() / f64::from(k)).sum();
        let syllable = (0.5 + 0.5 * (TAU * 2.2 * time).sin()).powi(2);
        (0.25 * tone * syllable + noise * white) as f32
    };
    (0..(seconds * f64::from(sample_rate)) as usize).map(sample).collect()
}

/// A run as a training leaves it: `epochs` of `per_epoch` steps, sounds every tenth epoch, the machine's load, and a kill half way.
pub fn realistic(workspace: &Workspace, run: &str, name: &str, params: &Value, epochs: i64, per_epoch: i64) {
    let mut log = Log::empty();
    log.line("start", &start(name, params));
    log.event(
        "recipe",
        &json!({ "path": "recipes/train_voice.rhai", "text": "//! Train one voice.\nlet p = args(PARAMS);\n" }),
    );
    let stages = [
        ("reading recordings", 3.1, 4, "4 files, 1 unusable"),
        ("slicing", 8.4, 118, "118 clips, 3 dropped"),
        ("f0", 41.0, 118, "rmvpe"),
        ("content", 66.2, 118, ""),
    ];
    for (stage, seconds, done, summary) in stages {
        log.wait(seconds);
        log.event("stage", &json!({ "stage": stage, "seconds": seconds, "done": done, "summary": summary }));
    }
    log.event("dataset", &dataset());
    log.event(
        "warning",
        &json!({ "text": "data/anna/noise.wav: clipped in 412 samples; the clips keep the distortion" }),
    );
    let random = |step: i64, salt: i64| ((step * 7919 + salt * 104_729) % 1000) as f64 / 1000.0 - 0.5;
    let rate = params["learning_rate"].as_f64().unwrap_or(1e-4);
    let (mut step, mut load) = (0, 0.0);
    for epoch in 1..=epochs {
        let began = log.now;
        let mut sum = 0.0;
        for _ in 0..per_epoch {
            step += 1;
            log.wait(0.21);
            let share = step as f64 / (epochs * per_epoch) as f64;
            let mel = 14.0 + 16.0 * (-6.0 * share * (rate * 1e4).sqrt()).exp() + 2.5 * random(step, 1);
            sum += mel;
            let norm = if step == per_epoch * epochs / 3 {
                Value::from("NaN")
            } else {
                (40.0 + 60.0 * random(step, 3)).into()
            };
            log.metrics(
                step,
                &json!({
                    "loss_disc": 3.4 + 0.8 * random(step, 4), "loss_gen": 3.0 + share + random(step, 5), "loss_fm": 7.0 + 4.0 * share + 2.0 * random(step, 6),
                    "loss_mel": mel, "loss_kl": 1.2 + 2.0 * (-9.0 * share).exp() + 0.4 * random(step, 7),
                    "learning_rate": rate * 0.999_875f64.powi(epoch as i32), "grad_norm_g": norm, "grad_norm_d": 15.0 + 20.0 * random(step, 8).abs(),
                    "steps_per_second": 4.7 + 0.3 * random(step, 9), "audio_seconds_per_second": 6.6 + 0.3 * random(step, 9),
                }),
            );
            if log.now - load > 10.0 {
                load = log.now;
                let cpu = 55.0 + 40.0 * random(step, 10);
                log.metrics(
                    log.now as i64,
                    &json!({
                        "system/cpu_utilization_percentage": cpu, "system/system_memory_usage_megabytes": 9000.0 + 300.0 * share, "system/system_memory_usage_percentage": 28.0,
                        "system/process_memory_megabytes": 3100.0 + 200.0 * share, "system/disk_usage_percentage": 61.0, "system/disk_usage_megabytes": 310_000.0,
                        "system/disk_available_megabytes": 190_000.0 - 3000.0 * share, "system/network_receive_megabytes": 12.0, "system/network_transmit_megabytes": 3.0,
                        "system/gpu_0_memory_usage_percentage": 71.0, "system/gpu_0_memory_usage_megabytes": 7100.0, "system/gpu_0_utilization_percentage": 93.0 + 5.0 * random(step, 11),
                        "system/gpu_0_power_usage_watts": 210.0 + 30.0 * random(step, 12), "system/gpu_0_temperature_celsius": 55.0 + 12.0 * share, "system/gpu_0_energy_joules": 210.0 * log.now,
                    }),
                );
            }
        }
        log.metrics(step, &json!({ "epoch/number": epoch, "validation_loss_mel": 15.0 + 16.0 / epoch as f64 }));
        log.event("epoch", &json!({ "epoch": epoch, "step": step, "seconds": log.now - began,
            "metrics": { "loss_mel": sum / per_epoch as f64, "loss_kl": 1.3, "loss_fm": 8.0, "loss_gen": 3.4, "loss_disc": 3.4, "steps_per_second": 4.7 } }));
        if epoch % 10 == 0 || epoch == epochs {
            let path = format!("logs/{name}/samples/epoch_{epoch}.wav");
            io::write_wav(&workspace.path(&path), &voice(3.2, 40_000, 0.2 / epoch as f64), 40_000).unwrap();
            log.event("checkpoint", &json!({ "epoch": epoch, "step": step, "g": format!("logs/{name}/G_{epoch}.pth"), "d": format!("logs/{name}/D_{epoch}.pth") }));
            log.event(
                "sample",
                &json!({ "epoch": epoch, "step": step, "path": path, "of": format!("logs/{name}/0_gt_wavs/0_0.wav") }),
            );
        }
        if epoch == epochs / 2 {
            log.now += 3600.0;
            log.elapsed = 0.0;
            load = log.now;
            let again = start(name, params);
            log.line(
                "resume",
                &json!({ "run": run, "tool_version": "0.1.0", "tags": again["tags"], "params": params }),
            );
        }
    }
    io::write_wav(&workspace.path(format!("logs/{name}/0_gt_wavs/0_0.wav")), &voice(3.2, 40_000, 0.002), 40_000)
        .unwrap();
    io::write_wav(&workspace.path("test.wav"), &voice(2.0, 40_000, 0.02), 40_000).unwrap();
    log.event("self_test", &json!({ "path": "test.wav", "of": format!("logs/{name}/0_gt_wavs/0_0.wav"), "snr": 9.31, "log_mel_distance": 0.412, "f0_rmse_cents": 18.4,
        "voicing_error": 0.021, "loudness_difference": -0.8, "content_distance": 0.131, "says": ["the file is sound", "the voice is close to <the> recordings"] }));
    log.event("index", &json!({ "path": format!("logs/{name}/added_IVF512_Flat_nprobe_1_{name}_v2.index"), "n": 34_211, "n_ivf": 512 }));
    log.metrics(step, &json!({ "index_recall": 0.987 }));
    log.line("artifact", &json!({ "path": format!("models/{name}.pth"), "to": "models" }));
    log.line(
        "finish",
        &json!({ "status": "done", "summary": { "epochs": epochs, "gpu_energy_joules": 88_123.412_11 } }),
    );
    log.save(workspace, run);
}

fn dataset() -> Value {
    json!({
        "clips": 118, "seconds": 412.4,
        "recordings": [
            { "name": "anna_01.flac", "sid": 0, "seconds": 301.22, "clips": 84, "kept_seconds": 280.1, "dropped": [{ "reason": "silent", "count": 2, "seconds": 5.2 }, { "reason": "shorter than 0.1 s", "count": 1, "seconds": 0.08 }], "reason": null },
            { "name": "anna_02.flac", "sid": 0, "seconds": 140.0, "clips": 34, "kept_seconds": 132.3, "dropped": [], "reason": null },
            { "name": "broken.mp3", "sid": 0, "seconds": 0.0, "clips": 0, "kept_seconds": 0.0, "dropped": [], "reason": "cannot be decoded: no frame header found" },
        ],
        "dropped_clips": [{ "name": "0_17.wav", "reason": "silent" }],
    })
}

/// The brightness (palette index) of a pixel, from the left and the bottom, both 0 to 1.
fn brightness(png: &[u8], across: f64, up: f64) -> u8 {
    let (width, height, pixels) = decoded(png);
    let (x, y) = ((across * f64::from(width)) as usize, ((1.0 - up) * f64::from(height)) as usize);
    pixels[y.min(height as usize - 1) * width as usize + x]
}

/// Size and palette indices.
fn decoded(bytes: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    pixels.truncate(info.buffer_size());
    (info.width, info.height, pixels)
}

#[test]
fn a_tone_is_bright_at_its_frequency_and_dark_elsewhere() {
    let tone: Vec<f32> = (0..32_000).map(|i| (0.5 * (TAU * 1000.0 * f64::from(i) / 16_000.0).sin()) as f32).collect();
    let png = picture::spectrogram(&tone, 16_000, None).unwrap();
    let at = picture::height(1000.0, 16_000);
    assert_eq!(brightness(&png, 0.5, at), 63, "the peak has the last of 64 levels");
    assert!(brightness(&png, 0.5, picture::height(500.0, 16_000)) < 20);
    assert!(brightness(&png, 0.5, picture::height(4000.0, 16_000)) < 20);
    assert_eq!(decoded(&png).0, 200, "2 s: a column each 10 ms");
}

#[test]
fn a_picture_is_at_most_900_by_256_whatever_the_length() {
    for seconds in [0.005, 1.0, 60.0] {
        let png = picture::spectrogram(&voice(seconds, 8000, 0.1), 8000, None).unwrap();
        let (width, height, _) = decoded(&png);
        assert!(width <= 900 && height == 256, "{seconds} s: {width} x {height}");
    }
}

#[test]
fn silence_nothing_and_broken_samples_give_dark_pictures() {
    for (value, count) in [(0.0, 8000), (0.0, 0), (f32::NAN, 8000), (f32::INFINITY, 8000)] {
        let (_, _, pixels) = decoded(&picture::spectrogram(&vec![value; count], 16_000, None).unwrap());
        assert!(pixels.iter().all(|level| *level == 0));
    }
    assert!(picture::spectrogram(&[0.5; 100], 0, Some(&[f64::NAN, 1e300])).is_ok(), "even a rate of 0");
}

#[test]
fn the_dither_of_16_bits_is_not_blown_up() {
    let dither: Vec<f32> = voice(1.0, 16_000, 1.0).iter().map(|x| (x.clamp(-1.0, 1.0).round()) / 32768.0).collect();
    assert!(dither.iter().any(|x| *x != 0.0));
    let (_, _, pixels) = decoded(&picture::spectrogram(&dither, 16_000, None).unwrap());
    assert!(pixels.iter().all(|level| *level < 32), "no brighter than the half: {:?}", pixels.iter().max());
}

#[test]
fn the_pitch_is_drawn_where_it_is_voiced() {
    let f0: Vec<f64> = (0..100).map(|i| if i < 50 { 200.0 } else { 0.0 }).collect();
    let png = picture::spectrogram(&vec![0.0; 16_000], 16_000, Some(&f0)).unwrap();
    let at = picture::height(200.0, 16_000);
    assert_eq!(brightness(&png, 0.25, at), 64, "the colour of the line");
    assert_eq!(brightness(&png, 0.75, at), 0);
}

#[test]
fn a_page_describes_the_whole_run() {
    let (_keep, workspace) = workspace();
    realistic(&workspace, RUN, "anna", &json!({ "epochs": 20, "batch_size": 4, "gpu": false }), 20, 10);
    let path = report::write(&workspace, RUN).unwrap();
    assert_eq!(path, workspace.tracking().join("reports").join(format!("{RUN}.html")));
    let page = read(&path);
    for expected in [
        r#"<span class="status done">done</span>"#,
        "in 2 processes",
        "<dd>20</dd>",
        "Best epoch",
        "<dd>CPU</dd>",
        "left out: 5.2 s in 2 clips, silent",
        "left out: 0.1 s in 1 clip, shorter than 0.1 s",
        "not used: cannot be decoded: no frame header found",
        "0_17.wav",
        "clipped in 412 samples",
        "f0_rmse_cents",
        "18.4",
        "<p>the file is sound</p><p>the voice is close to &lt;the&gt; recordings</p>",
        "recipes/train_voice.rhai",
        "let p = args(PARAMS);",
        "logs/anna/G_20.pth",
        "models/anna.pth",
        "2.11.0",
        "reading recordings",
        "epoch 10",
        "is shown above",
        "grad_norm_g: not a finite number at step 66",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in the page");
    }
}

#[test]
fn findings_are_on_the_page_of_a_refused_run_too() {
    let (_folder, workspace) = workspace();
    let finding = |severity: &str, gate: &str, message: &str| json!({ "severity": severity, "gate": gate, "message": message, "hint": "add recordings", "value": 42.0, "allowed": 300.0, "recordings": [] });
    let mut log = Log::started();
    log.event(
        "findings",
        &json!({ "findings": [
            finding("refuse", "refuse_below_seconds", "there are 42 seconds of sound, but at least 300 are asked for"),
            finding("warn", "warn_below_clips", "there are 13 clips, but at least 100 are <asked> for"),
        ] }),
    );
    log.save(&workspace, RUN);
    let refused = page(&workspace);
    for part in
        ["refuse_below_seconds", "there are 42 seconds of sound", "warn_below_clips", "&lt;asked&gt;", "add recordings"]
    {
        assert!(refused.contains(part), "{part}");
    }
    assert!(!refused.contains("does not describe the data set"));
    // A run that found nothing has no such table.
    let mut log = Log::started();
    log.event("findings", &json!({ "findings": [] }));
    log.save(&workspace, RUN);
    let fine = page(&workspace);
    assert!(!fine.contains("what to do") && fine.contains("does not describe the data set"));
}

#[test]
fn a_page_needs_no_other_file() {
    let (_keep, workspace) = workspace();
    realistic(&workspace, RUN, "anna", &json!({}), 10, 5);
    let page = page(&workspace);
    for attribute in ["src=\"", "href=\""] {
        for (at, _) in page.match_indices(attribute) {
            let target = &page[at + attribute.len()..];
            assert!(target.starts_with("data:") || target.starts_with('#'), "{}", &target[..40]);
        }
    }
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("<link"));
    // The policy enforces that in the browser, and allows only this one script.
    let script = page.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let digest = files::digest(script);
    let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&digest[2 * i..2 * i + 2], 16).unwrap()).collect();
    let digest = base64::engine::general_purpose::STANDARD.encode(bytes);
    let policy = page.split_once("Content-Security-Policy\" content=\"").unwrap().1.split_once('"').unwrap().0;
    assert!(policy.contains(&format!("script-src 'sha256-{digest}'")), "{policy}");
    assert!(policy.contains("default-src 'none'"));
}

#[test]
fn every_curve_is_drawn_without_a_script() {
    let (_keep, workspace) = workspace();
    realistic(&workspace, RUN, "anna", &json!({}), 10, 50);
    let page = page(&workspace);
    let curves: usize =
        data(&page)["charts"].as_array().unwrap().iter().map(|c| c["series"].as_array().unwrap().len()).sum();
    assert!(curves > 15, "{curves}");
    assert_eq!(page.matches(r#"<path class="line c"#).count(), curves);
    let first = &data(&page)["charts"][0]["series"];
    assert_eq!(
        (&first[0]["name"], &first[1]["name"]),
        (&json!("loss_mel"), &json!("validation_loss_mel")),
        "side by side"
    );
    assert!(!page.contains("NaN "), "no picture has a position that is not a number");
}

/// Text that must never reach a browser unescaped.
const HOSTILE: &str = r#"</script><script>alert(1)</script><img src=x onerror=alert(1)>"'&<!--"#;

/// A log in which every text is hostile.
fn hostile_log() -> Log {
    let mut log = Log::empty();
    let params = json!({ HOSTILE: { HOSTILE: HOSTILE }, "epochs": HOSTILE });
    let mut opening = start(HOSTILE, &params);
    opening["tags"] = json!({ HOSTILE: HOSTILE, "rvc_run.gpu": HOSTILE });
    opening["tool_version"] = HOSTILE.into();
    opening["title"] = HOSTILE.into();
    log.line("start", &opening);
    opening["params"] = json!({});
    log.line("resume", &opening);
    log.event("recipe", &json!({ "path": HOSTILE, "text": HOSTILE }));
    log.event("stage", &json!({ "stage": HOSTILE, "seconds": 1.0, "done": HOSTILE, "summary": HOSTILE }));
    log.event("warning", &json!({ "text": HOSTILE }));
    let dropped = json!([{ "reason": HOSTILE, "count": HOSTILE, "seconds": HOSTILE }]);
    log.event("dataset", &json!({ "clips": 1, "seconds": 1.0, "recordings": [{ "name": HOSTILE, "sid": HOSTILE, "dropped": dropped, "notices": [{ "message": HOSTILE, "seconds": 1.0 }, HOSTILE, { HOSTILE: HOSTILE }], "reason": HOSTILE }], "dropped_clips": [{ "name": HOSTILE, "reason": HOSTILE }] }));
    for step in 0..5 {
        log.metrics(
            step,
            &json!({ HOSTILE: step, "system/</script><script>": step, "loss_mel": 1.0, "validation_</script>": 2.0 }),
        );
    }
    log.event("sample", &json!({ "epoch": 1, "path": HOSTILE, "of": HOSTILE }));
    log.event("self_test", &json!({ "path": HOSTILE, "of": HOSTILE, "snr": 1.0, HOSTILE: 1.0, "says": [HOSTILE, 7] }));
    log.event("index", &json!({ HOSTILE: HOSTILE }));
    log.event("checkpoint", &json!({ "epoch": HOSTILE, "g": HOSTILE, "d": HOSTILE }));
    log.line("artifact", &json!({ "path": HOSTILE, "to": HOSTILE, "key": HOSTILE, "step": 1 }));
    log.line("finish", &json!({ "status": HOSTILE, "summary": { HOSTILE: HOSTILE } }));
    log
}

fn is_tame(page: &str) {
    assert_eq!(page.matches("<script").count(), 2, "the data and ours");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img") && !page.contains("<!--"));
    assert!(page.contains("alert(1)"), "it is shown as text");
}

#[test]
fn hostile_text_stays_text_in_both_pages() {
    let (_keep, workspace) = workspace();
    hostile_log().save(&workspace, RUN);
    let mut other = hostile_log();
    other.text = other.text.replace("alert(1)", "alert(2)");
    other.save(&workspace, "other");
    let page = page(&workspace);
    is_tame(&page);
    // The data survives its escaping.
    assert_eq!(series(&data(&page), HOSTILE)["y"], json!([0.0, 1.0, 2.0, 3.0, 4.0]));
    is_tame(&read(&report::compare(&workspace, &[RUN.into(), "other".into()]).unwrap()));
}

#[test]
fn thinning_keeps_every_peak_and_reports_every_step_that_is_not_finite() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    for step in 0..20_000 {
        log.wait(0.1);
        let mel = match step {
            777 | 778 | 15_001 => json!("NaN"),
            9_999 => json!("Infinity"),
            12_345 => json!(999.0),
            12_346 => json!(-999.0),
            _ => json!(20.0 + f64::from(step % 7)),
        };
        log.metrics(i64::from(step), &json!({ "loss_mel": mel, "loss_kl": 1.0 }));
    }
    log.save(&workspace, RUN);
    let page = page(&workspace);
    let data = data(&page);
    let mel = series(&data, "loss_mel");
    let y = mel["y"].as_array().unwrap();
    assert!(y.len() <= 1500, "{}", y.len());
    assert!(y.len() > 900, "{}", y.len());
    assert!(y.contains(&json!(999.0)) && y.contains(&json!(-999.0)));
    let bad = mel["bad"].as_array().unwrap();
    assert_eq!(bad.iter().map(|mark| mark[2].as_u64().unwrap()).sum::<u64>(), 4);
    assert_eq!(bad[0][0], 777);
    assert!(page.contains("loss_mel: not a finite number at 4 steps from 777 to 15001"));
    assert!(page.contains(r#"<path class="bad""#), "they are marked without a script too");
    let steps: Vec<i64> = mel["x"].as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect();
    assert!(steps.is_sorted() && steps[0] <= 7 && steps[steps.len() - 1] > 19_950);
    assert!(series(&data, "loss_kl")["bad"].is_null());
}

#[test]
fn a_run_of_nothing_but_nan_still_gives_a_page() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    (0..5000).for_each(|step| log.metrics(step, &json!({ "loss_mel": "NaN" })));
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert!(page.contains("not a finite number at 5000 steps from 0 to 4999"));
    let bad = series(&data(&page), "loss_mel")["bad"].as_array().unwrap().clone();
    assert_eq!(bad.iter().map(|mark| mark[2].as_u64().unwrap()).sum::<u64>(), 5000);
}

#[test]
fn a_killed_run_and_a_running_one_are_shown_as_such() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    log.metrics(1, &json!({ "loss_mel": 30.0 }));
    log.save(&workspace, RUN);
    assert!(page(&workspace).contains("not ended: killed or busy"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    log.now = now - START;
    log.metrics(2, &json!({ "loss_mel": 29.0 }));
    log.save(&workspace, RUN);
    assert!(page(&workspace).contains("running when this page was made"));
    log.line("finish", &json!({ "status": "failed", "summary": {} }));
    log.save(&workspace, RUN);
    assert!(page(&workspace).contains(r#"<span class="status failed">failed</span>"#));
}

#[test]
fn torn_empty_and_headless_logs_give_honest_pages() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    log.text.push_str("{\"type\":\"metr");
    log.save(&workspace, RUN);
    let torn = page(&workspace);
    assert!(torn.contains("1 line or value of the log cannot be read") && torn.contains("No losses are recorded"));
    assert!(
        torn.contains("No curves") && torn.contains("No samples") && torn.contains("does not describe the data set")
    );

    let mut log = Log::empty();
    log.save(&workspace, RUN);
    let empty = page(&workspace);
    assert!(empty.contains("nothing recorded") && empty.contains("no start line"));

    (0..3).for_each(|step| log.metrics(step, &json!({ "loss_mel": 2.0 })));
    log.save(&workspace, RUN);
    let headless = page(&workspace);
    assert!(headless.contains("no start line") && headless.contains("<h1>anna 2026-11-2"));
    assert_eq!(series(&data(&headless), "loss_mel")["x"], json!([0, 1, 2]));

    // Lines of the right type and the wrong shape.
    log.text =
        "{\"type\":\"event\"}\n{\"type\":\"metrics\"}\n{\"type\":\"start\",\"time\":1e300}\n[]\n7\n\u{0}\n".into();
    for event in ["sample", "dataset", "stage", "epoch", "checkpoint", "index", "self_test", "warning", "recipe"] {
        for data in [json!(null), json!([1]), json!({ "epoch": "x", "recordings": 5, "path": {}, "seconds": "NaN" })] {
            log.event(event, &data);
        }
    }
    log.save(&workspace, RUN);
    page(&workspace);
}

#[test]
fn values_at_the_edge_of_a_float_are_drawn_or_reported() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    for (step, value) in [1e308, -1e308, 0.0, 5e-324].into_iter().enumerate() {
        log.metrics(step as i64 * (i64::MAX / 4), &json!({ "loss_mel": value }));
    }
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert_eq!(series(&data(&page), "loss_mel")["y"].as_array().unwrap().len(), 4);
    assert!(!page.split("<script").next().unwrap().contains("NaN"), "the picture has places for them");
}

#[test]
fn time_does_not_count_the_pause_between_two_processes() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    for step in 1..=3 {
        log.wait(60.0);
        log.metrics(step, &json!({ "loss_mel": 30.0 }));
    }
    log.now += 100_000.0;
    log.elapsed = 0.0;
    log.line("resume", &start("anna", &json!({ "epochs": 30 })));
    for (step, value) in [(3, 1.0), (4, 2.0)] {
        log.wait(60.0);
        log.metrics(step, &json!({ "loss_mel": value }));
    }
    log.save(&workspace, RUN);
    let page = page(&workspace);
    let data = data(&page);
    let mel = series(&data, "loss_mel");
    assert_eq!(mel["t"], json!([1.0, 2.0, 4.0, 5.0]), "the repeated step counts as its last");
    assert_eq!(mel["y"], json!([30.0, 30.0, 1.0, 2.0]));
    assert!(page.contains("5 min 0 s") && page.contains("not ended"));
}

#[test]
fn a_metrics_line_means_the_same_in_any_notation() {
    let (_keep, workspace) = workspace();
    let rest = r#""elapsed":2.5,"step":7,"metrics":{"a\u0062\n":1,"b":-2,"c":0.1,"d":"NaN","e":"-Infinity","f":18446744073709551615}}"#;
    let mut found = Vec::new();
    // As this program writes it; as any other might; and one with a value that is not a number.
    for text in [
        format!("{{\"type\":\"metrics\",\"time\":5.0,{rest}\n"),
        format!("{{ \"time\": 5.0, \"type\":\"metrics\",{rest}\n"),
        format!("{{\"type\":\"metrics\",\"time\":5.0,{}\n", rest.replace("\"b\"", "\"x\":null,\"b\"")),
    ] {
        let path = workspace.path("log.jsonl");
        files::write(&path, text).unwrap();
        let record = track::read(&path).unwrap();
        assert_eq!((record.sessions.len(), record.sessions[0].seconds, record.sessions[0].time), (1, 2.5, (5.0, 5.0)));
        found.push((format!("{:?}", record.metrics), record.damaged));
    }
    assert!(found[0].0.contains("ab\\n") && found[0].0.contains("-inf") && found[0].1 == 0, "{found:?}");
    assert_eq!(found[0], found[1]);
    assert_eq!((&found[0].0, 1), (&found[2].0, found[2].1), "the rest of the line counts");
}

#[test]
fn sounds_are_in_the_page_as_wavs_that_every_browser_plays() {
    let (_keep, workspace) = workspace();
    let samples = voice(0.5, 16_000, 0.0);
    io::write_wav(&workspace.path("a.wav"), &samples, 16_000).unwrap();
    io::write_wav(&workspace.path("b.wav"), &voice(25.0, 8000, 0.0), 8000).unwrap();
    let mut log = Log::started();
    log.event("sample", &json!({ "epoch": 1, "path": "a.wav", "of": "b.wav" }));
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert!(page.contains("the first 20 s of 25.0 s"));
    let uris: Vec<&str> = page.split("src=\"data:audio").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    assert_eq!(uris.len(), 2);
    let bytes = base64::engine::general_purpose::STANDARD.decode(uris[1].split_once("base64,").unwrap().1).unwrap();
    let mut reader = hound::WavReader::new(std::io::Cursor::new(bytes)).unwrap();
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 16_000, 16));
    assert_eq!(spec.sample_format, hound::SampleFormat::Int);
    let read: Vec<f32> = reader.samples::<i16>().map(|x| f32::from(x.unwrap()) / 32767.0).collect();
    // Half a step of 16 bits.
    assert!(read.len() == samples.len() && read.iter().zip(&samples).all(|(a, b)| (a - b).abs() <= 0.51 / 32767.0));
}

#[test]
fn missing_and_invalid_sounds_are_reported() {
    let (_keep, workspace) = workspace();
    files::write(&workspace.path("text.wav"), "no sound").unwrap();
    files::create_folder(&workspace.path("folder")).unwrap();
    let mut log = Log::started();
    log.event("sample", &json!({ "epoch": 1, "path": "gone.wav", "of": "folder" }));
    log.line("artifact", &json!({ "path": "text.wav", "to": "x", "key": "other", "step": 3 }));
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert!(page.contains("gone.wav no longer exists") && page.contains("folder is not a file"));
    assert!(page.contains("text.wav") && page.contains("No sound is in this page. 3 left out"));
    assert!(!page.contains("<audio"));
}

/// A sample of each epoch, each another sound.
fn samples(log: &mut Log, workspace: &Workspace, epochs: std::ops::RangeInclusive<i64>, seconds: f64, rate: u32) {
    for epoch in epochs {
        let path = format!("epoch_{epoch}.wav");
        io::write_wav(&workspace.path(&path), &voice(seconds, rate, 0.3 / (epoch + 1) as f64), rate).unwrap();
        log.event("sample", &json!({ "epoch": epoch, "path": path, "of": "" }));
    }
}

#[test]
fn every_sample_can_be_heard_and_the_first_middle_and_last_at_once() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    samples(&mut log, &workspace, 1..=9, 0.1, 8000);
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert_eq!(page.matches("<audio").count(), 9);
    let (at_once, more) = page.split_once("<details><summary>6 more, epoch 2 to epoch 8").unwrap();
    let shown =
        |part: &str| (1..=9).filter(|epoch| part.contains(&format!("<b>epoch {epoch}</b>"))).collect::<Vec<_>>();
    assert_eq!((shown(at_once), shown(more)), (vec![1, 5, 9], vec![2, 3, 4, 6, 7, 8]));
}

#[test]
#[ignore = "slow: hundreds of sounds"]
fn too_many_samples_are_thinned_evenly_and_the_page_reports_it() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    samples(&mut log, &workspace, 1..=24, 10.0, 48_000);
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert!(page.len() < 21_000_000, "{}", page.len());
    let heard: Vec<i64> = (1..=24).filter(|epoch| page.contains(&format!("<b>epoch {epoch}</b>"))).collect();
    assert!((12..=16).contains(&heard.len()) && heard.windows(2).all(|pair| pair[1] - pair[0] <= 3), "{heard:?}");
    assert_eq!(page.matches(".wav is left out: the page holds at most 20 MB").count(), 24 - heard.len());
    assert!(page.contains(&format!("{} left out; the reason is beside each", 24 - heard.len())));
}

#[test]
fn the_same_picture_is_in_the_page_once() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    let original = picture::spectrogram(&voice(0.3, 16_000, 0.0), 16_000, None).unwrap();
    for step in [10, 20, 30, 40] {
        let made = picture::spectrogram(&voice(0.3, 16_000, 0.5 / f64::from(step)), 16_000, None).unwrap();
        for (key, bytes) in [("slice/mel_org", &original), ("slice/mel_gen", &made), ("copy", &original)] {
            let path = format!("{}_{step}.png", key.replace('/', "_"));
            files::write(&workspace.path(&path), bytes).unwrap();
            log.line("artifact", &json!({ "path": path, "to": "x", "key": key, "step": step }));
        }
    }
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert_eq!(page.matches("<img").count(), 1 + 4, "the original, and one a step");
    assert!(page.contains("<b>steps 10 to 40, the same 4 times</b>") && page.contains("<b>step 20</b>"));
    assert!(page.contains("the same as steps 10 to 40"), "under another name too");
}

#[test]
fn sounds_outside_the_workspace_stay_outside_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("workspace"));
    files::create_folder(workspace.root()).unwrap();
    let secret = folder.path().join("secret.wav");
    io::write_wav(&secret, &voice(0.2, 8000, 0.0), 8000).unwrap();
    let mut log = Log::started();
    let mut named = vec![
        secret.display().to_string(),
        "../secret.wav".into(),
        "logs/../../secret.wav".into(),
        "./x/../../secret.wav".into(),
    ];
    #[cfg(unix)]
    {
        files::create_folder(&workspace.path("logs/anna/samples")).unwrap();
        std::os::unix::fs::symlink(&secret, workspace.path("link.wav")).unwrap();
        std::os::unix::fs::symlink(&secret, workspace.path("logs/anna/samples/link.wav")).unwrap();
        std::os::unix::fs::symlink(folder.path(), workspace.path("logs/anna/samples/far")).unwrap();
        named.extend([
            "link.wav".into(),
            "logs/anna/samples/link.wav".into(),
            "logs/anna/samples/far/secret.wav".into(),
        ]);
    }
    files::create_folder(&workspace.path("x")).unwrap();
    files::create_folder(&workspace.path("logs")).unwrap();
    for (step, path) in named.iter().enumerate() {
        log.line("artifact", &json!({ "path": path, "to": "x", "key": "sound", "step": step }));
        log.event("sample", &json!({ "epoch": step, "path": path, "of": path }));
    }
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert!(!page.contains("<audio") && !page.contains("<img"));
    assert!(page.matches("is outside the workspace").count() >= named.len(), "{named:?}");
    // A voice's folder may be a link to a larger disk.
    #[cfg(unix)]
    {
        let disk = folder.path().join("disk");
        files::create_folder(&disk).unwrap();
        io::write_wav(&disk.join("a.wav"), &voice(0.2, 8000, 0.0), 8000).unwrap();
        std::os::unix::fs::symlink(&disk, workspace.path("logs/ben")).unwrap();
        let mut log = Log::started();
        log.event("sample", &json!({ "epoch": 1, "path": "logs/ben/a.wav", "of": "" }));
        log.save(&workspace, RUN);
        assert_eq!(self::page(&workspace).matches("<audio").count(), 1);
    }
}

#[test]
#[ignore = "slow: hundreds of sounds"]
fn sounds_without_room_are_left_out_and_reported() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    for key in ["a", "b", "c"] {
        for step in 0..3 {
            let path = format!("{key}{step}.wav");
            let sound = voice(
                20.0,
                48_000,
                0.1 + 0.01 * f64::from(step) + if key == "a" { 0.1 } else { 0.0 } + if key == "b" { 0.2 } else { 0.0 },
            );
            io::write_wav(&workspace.path(&path), &sound, 48_000).unwrap();
            log.line("artifact", &json!({ "path": path, "to": "x", "key": key, "step": step }));
        }
    }
    log.save(&workspace, RUN);
    let page = page(&workspace);
    assert!(page.len() < 21_000_000, "{}", page.len());
    assert!(page.matches("<audio").count() >= 6);
    assert!(page.contains("c2.wav is left out: the page holds at most 20 MB"));
}

#[test]
fn a_comparison_shows_what_differs_and_who_is_best() {
    let (_keep, workspace) = workspace();
    realistic(
        &workspace,
        "one",
        "anna",
        &json!({ "epochs": 8, "batch_size": 4, "learning_rate": 1e-4, "seed": 1 }),
        8,
        5,
    );
    realistic(
        &workspace,
        "two",
        "anna",
        &json!({ "epochs": 8, "batch_size": 8, "learning_rate": 4e-4, "seed": 1 }),
        8,
        5,
    );
    let runs = ["one".to_owned(), "two".to_owned(), "one".to_owned()];
    let path = report::compare(&workspace, &runs).unwrap();
    assert_eq!(path, report::compare(&workspace, &runs[..2]).unwrap(), "a run that is named twice counts once");
    assert!(path.starts_with(workspace.tracking().join("reports")));
    let page = read(&path);
    let (differs, rest) = page.split_once("What differs").unwrap().1.split_once("settings are equal").unwrap();
    assert!(differs.contains("batch_size") && differs.contains("learning_rate") && !differs.contains("seed"));
    assert!(rest.contains("seed") && rest.contains("epochs"));
    let names: Vec<Value> =
        data(&page)["charts"][0]["series"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["A", "B"]);
    // The faster rate has the lower loss.
    let results = page.split_once("Results").unwrap().1.split_once("What differs").unwrap().0;
    let losses = results.split_once("<h3>Losses</h3>").unwrap().1;
    let rows: Vec<&str> = losses.split("<tr>").skip(2).collect();
    assert!(!rows[0].contains("<strong>") && rows[1].contains(")</strong>"), "{results}");
}

#[test]
fn a_comparison_of_many_runs_and_settings_fits_a_laptop() {
    let (_keep, workspace) = workspace();
    let names: Vec<String> = (0..20).map(|n| format!("run{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let n = n as f64;
        let differing = json!({
            "learning_rate": 1e-4 + n * 1.234e-6, "batch_size": 4.0 + n, "c_mel": 45.0 + n, "c_kl": 1.0 + n / 7.0, "lr_decay": 1.0 - n * 1e-5,
            "segment_size": 6400.0 + 400.0 * n, "weight_decay": n / 300.0, "seed": n, "ema_decay": n / 30.0, "spec_eps": 1e-6 * (1.0 + n),
            "pretrained_g": format!("/home/somebody/with/a/long/name/G_{n}.pth"), "epochs": 8,
        });
        realistic(&workspace, name, "anna", &differing, 8, 5);
    }
    for count in [2, 8, 9, 20] {
        let path = report::compare(&workspace, &names[..count]).unwrap();
        let page = read(&path);
        let differs = page.split_once("What differs").unwrap().1.split_once("settings are equal").unwrap().0;
        for setting in ["learning_rate", "spec_eps", "pretrained_g"] {
            assert!(differs.contains(setting), "{count} runs: {setting}");
        }
        for table in page.split("<thead>").skip(1).map(|table| table.split_once("</thead>").unwrap().0) {
            // The players have a column for each run.
            assert!(
                table.contains("<small>run0</small>") || table.matches("<th ").count() <= 9,
                "{count} runs: {table}"
            );
        }
        let Some(found) = widths(&path) else { continue };
        assert_eq!(found["page"][0], found["page"][1], "{count} runs");
        let wide = found["tables"].as_array().unwrap().iter().filter(|one| one[0] != one[1]).count();
        assert!(wide <= usize::from(count > 8), "only the players of many runs may scroll: {count} runs: {found}");
    }
}

#[test]
fn the_page_of_a_failed_run_begins_with_its_error() {
    let (_keep, workspace) = workspace();
    let error =
        json!({ "code": "device.memory", "message": "no memory for <b>4 clips</b>", "hint": "lower batch_size" });
    let mut log = Log::started();
    log.line("finish", &json!({ "status": "failed", "summary": {}, "error": error }));
    log.save(&workspace, RUN);
    let page = page(&workspace);
    let begin = page.split_once("<main>").unwrap().1.split_once("<dl").unwrap().0;
    for word in ["no memory for &lt;b&gt;4 clips", "device.memory", "What to do: lower batch_size"] {
        assert!(begin.contains(word), "{word}: {begin}");
    }
    // Once it was resumed and ended well, there is no error to begin with.
    log.line("resume", &json!({}));
    log.line("finish", &json!({ "status": "done", "summary": {} }));
    log.save(&workspace, RUN);
    assert!(!self::page(&workspace).contains("no memory"));
}

#[test]
fn a_missing_run_is_named() {
    let (_keep, workspace) = workspace();
    files::write(&workspace.path("tracking/secret.jsonl"), "{}").unwrap();
    for id in ["nobody", "../secret", "", "."] {
        assert_eq!(report::write(&workspace, id).unwrap_err().kind(), Kind::NotFound, "{id:?}");
        assert_eq!(report::compare(&workspace, &[id.to_owned()]).unwrap_err().kind(), Kind::NotFound, "{id:?}");
    }
    assert_eq!(report::compare(&workspace, &[]).unwrap_err().kind(), Kind::Usage);
    assert!(!workspace.tracking().join("reports").exists());
}

/// The page as Chromium has it once its script has run; None, with a message, without Chromium.
fn in_chromium(path: &Path) -> Option<String> {
    let Some(chromium) =
        ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| which::which(name).ok())
    else {
        eprintln!("skipped: no Chromium on PATH");
        return None;
    };
    let profile = tempfile::tempdir().unwrap();
    let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                 --disable-component-update --disable-sync --window-size=1280,800 --virtual-time-budget=5000 --dump-dom";
    let output = std::process::Command::new(chromium)
        .args(flags.split_whitespace())
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_pages_script_draws_every_chart_in_a_browser() {
    let (_keep, workspace) = workspace();
    realistic(&workspace, RUN, "anna", &json!({ "epochs": 20, "batch_size": 4, "gpu": false }), 20, 10);
    let path = report::write(&workspace, RUN).unwrap();
    let data = data(&read(&path));
    assert_eq!(data["epochs"].as_array().unwrap().len(), 20, "the pointer says which epoch a step is of");
    let Some(dom) = in_chromium(&path) else { return };
    // Only the script makes the plane that follows the pointer; the page's own policy lets no other script run.
    assert_eq!(dom.matches("class=\"over\"").count(), data["charts"].as_array().unwrap().len());
}

/// Recordings from a careless user: 40, six of them unusable, with names of every kind.
fn careless() -> Value {
    let mut rows: Vec<Value> = (0..34)
        .map(|i| json!({ "name": format!("take_{i:02}.wav"), "sid": 0, "seconds": 61.5, "clips": 18, "kept_seconds": 60.1, "dropped": [], "reason": null }))
        .collect();
    rows[20]["name"] = format!("{}_end.flac", "a_name_without_any_blank".repeat(9)).into();
    rows[21]["name"] = "録音 二〇二六年十一月三十日 スタジオ".repeat(3).into();
    rows[22]["dropped"] = json!([{ "reason": "silent", "count": 1, "seconds": 3.5 }]);
    rows[23]["notices"] = json!([{ "message": "an edit list hides the beginning", "seconds": 2.25 }, { "message": "the header promises 4.0 s more", "seconds": 4.0 }, { "message": "one channel is dead" }]);
    for (i, reason) in [
        "is damaged: no frame header found",
        "is silent",
        "is shorter than 0.1 s",
        "holds no sound",
        "has a sample rate of 0",
        "is not text or sound",
    ]
    .iter()
    .enumerate()
    {
        rows.push(json!({ "name": format!("bad_{i}.mp3"), "sid": 0, "seconds": 0.0, "clips": 0, "kept_seconds": 0.0, "dropped": [], "reason": reason }));
    }
    let measures: Vec<Value> = rows.iter().map(|row| json!({ "name": row["name"], "bandwidth_hz": 19_800.0, "clipped_share": 0.0012, "noise_db": -62.5, "snr_db": 41.2, "loudness_lufs": -21.4, "silence_share": 0.183 })).collect();
    json!({ "clips": 612, "seconds": 2043.4, "recordings": rows, "dropped_clips": [], "survey": { "recordings": measures, "f0": {}, "duplicates": [], "findings": [] } })
}

#[test]
fn recordings_with_a_problem_come_first_with_the_reason() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    log.event("dataset", &careless());
    log.save(&workspace, RUN);
    let page = page(&workspace);
    let table = page.split_once("<h2>Dataset</h2>").unwrap().1.split_once("</table>").unwrap().0;
    let rows: Vec<&str> = table.split("<tr>").skip(2).collect();
    for (row, reason) in
        rows.iter().zip(["no frame header", "is silent", "shorter than 0.1 s", "no sound", "rate of 0", "not text"])
    {
        assert!(row.contains("bad_") && row.contains("<p class=\"why\">not used: ") && row.contains(reason), "{row}");
    }
    assert!(rows[6].contains("take_23") && rows[6].contains("an edit list hides the beginning (2.2 s)"), "{}", rows[6]);
    assert!(
        rows[6].contains("<p class=\"why\">the header promises 4.0 s more</p>")
            && rows[6].contains("one channel is dead")
    );
    assert!(rows[7].contains("take_22") && rows[7].contains("left out: 3.5 s in 1 clip, silent"), "{}", rows[7]);
    assert!(rows[8].contains("take_00") && !rows[8].contains("why"), "{}", rows[8]);
    assert!(page.contains("6 of 40 recordings not used, 1 with a notice, 1 with parts left out"));
    // Units are in the heads, no column is there for one speaker, and a long name is whole for the pointer.
    assert!(table.contains("length <small>s</small>") && table.contains("loudness <small>LUFS</small>"));
    assert!(!table.contains("speaker"));
    let long = format!("{}_end.flac", "a_name_without_any_blank".repeat(9));
    assert!(
        table.contains(&format!("title=\"{long}\"")) && table.contains("…") && !table.contains(&format!(">{long}<"))
    );
}

/// The widths of a page in a window of 1280 x 800, and of every table in it that must not scroll: what is there, and the room it has.
/// None without Chromium.
fn widths(path: &Path) -> Option<Value> {
    // The page's own policy lets no other script run; this copy has none.
    let page = files::read_text(path).unwrap();
    let script = "<script>document.title = JSON.stringify({ page: [document.documentElement.scrollWidth, document.documentElement.clientWidth], tables: [...document.querySelectorAll('.fit')].map((one) => [one.scrollWidth, one.clientWidth]) });</script></body>";
    let copy = path.with_extension("measured.html");
    files::write(&copy, page.replace("Content-Security-Policy", "nothing").replace("</body>", script)).unwrap();
    let dom = in_chromium(&copy)?;
    let title = dom.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0.to_owned();
    Some(serde_json::from_str(&title.replace("&quot;", "\"")).unwrap())
}

#[track_caller]
fn fits(path: &Path, tables: usize) {
    let Some(found) = widths(path) else { return };
    assert_eq!(found["page"][0], found["page"][1], "the page does not scroll to the side");
    let all = found["tables"].as_array().unwrap();
    assert_eq!(all.len(), tables);
    assert!(all.iter().all(|one| one[0] == one[1]), "{all:?}");
}

#[test]
fn the_table_of_recordings_fits_a_small_screen() {
    let (_keep, workspace) = workspace();
    let mut log = Log::started();
    let mut data = careless();
    data["recordings"][3]["sid"] = 1.into();
    log.event("dataset", &data);
    let long = "an unusually long sentence about the data ".repeat(8);
    log.event(
        "findings",
        &json!({ "findings": [{ "severity": "warn", "gate": "warn_below_seconds", "message": long, "hint": long }] }),
    );
    log.save(&workspace, RUN);
    fits(&report::write(&workspace, RUN).unwrap(), 2);
}

/// A training of four epochs in three processes; the second has another batch size, the third has also a newer program.
fn resumed() -> Log {
    let mut log = Log::started();
    let stage = |log: &mut Log, name: &str, seconds: f64, summary: &str| {
        log.wait(seconds);
        log.event("stage", &json!({ "stage": name, "seconds": seconds, "done": 118, "summary": summary }));
    };
    let mut begun = start("anna", &json!({ "epochs": 30, "batch_size": 4, "gpu": false }));
    for process in 0..3 {
        if process > 0 {
            log.elapsed = 0.0;
            log.now += 1000.0;
            begun["params"]["batch_size"] = 8.into();
            begun["params"]["new_setting"] = true.into();
            begun["tool_version"] = if process == 2 { "0.2.0" } else { "0.1.0" }.into();
            log.line("resume", &begun);
        }
        stage(&mut log, "slicing", 8.0, "118 clips");
        stage(&mut log, "f0", 2.0, if process == 0 { "rmvpe" } else { "118 from the cache" });
        log.wait(20.0);
        log.event("epoch", &json!({ "epoch": process + 1, "step": 10 * (process + 1), "steps": 10, "seconds": 20.0, "metrics": { "loss_mel": 30.0 } }));
    }
    log
}

#[test]
fn stages_of_a_resumed_run_are_summed_and_shown_once() {
    let (_keep, workspace) = workspace();
    resumed().save(&workspace, RUN);
    let page = page(&workspace);
    let table = page.split_once("<h2>Timings</h2>").unwrap().1.split_once("</table>").unwrap().0;
    let rows: Vec<String> = table
        .split("<tr>")
        .skip(2)
        .map(|row| row.replace("</td>", "|").replace("<td>", "").replace("<td class=\"n\">", ""))
        .collect();
    assert_eq!(rows.len(), 4, "two stages, training, the whole: {table}");
    assert!(rows[0].starts_with("slicing|3|24.0 s|26.7 %|118|118 clips|"), "{}", rows[0]);
    assert!(rows[1].starts_with("f0|3|6.0 s|6.7 %|118|118 from the cache|"), "{}", rows[1]);
    assert!(rows[2].starts_with("training||1 min 0 s|66.7 %|3|epochs|"), "{}", rows[2]);
    assert!(rows[3].contains("whole run") && rows[3].contains("1 min 30 s"), "{}", rows[3]);
    assert!(page.contains("all 3 processes together, without the pauses between them"));
    // The stage of training holds the epochs: they are not counted twice.
    let mut log = Log::started();
    log.wait(10.0);
    log.event("stage", &json!({ "stage": "slicing", "seconds": 10.0, "done": 3, "summary": "" }));
    log.wait(30.0);
    log.event("epoch", &json!({ "epoch": 1, "step": 4, "steps": 4, "seconds": 25.0, "metrics": { "loss_mel": 30.0 } }));
    log.event("stage", &json!({ "stage": "training", "seconds": 30.0, "done": 4, "summary": "" }));
    log.save(&workspace, RUN);
    let page = self::page(&workspace);
    let table = page.split_once("<h2>Timings</h2>").unwrap().1.split_once("</table>").unwrap().0;
    assert!(table.contains("of it, finished epochs") && !table.contains("everything else"), "{table}");
    assert!(!table.contains("times"), "no stage ran twice: {table}");
}

#[test]
fn settings_that_changed_on_resume_are_shown_with_their_epoch() {
    let (_keep, workspace) = workspace();
    resumed().save(&workspace, RUN);
    let page = page(&workspace);
    let table =
        page.split_once("Settings that changed when the training resumed").unwrap().1.split_once("</table>").unwrap().0;
    let rows: Vec<String> = table
        .split("<tr>")
        .skip(2)
        .map(|row| row.replace("</td>", "|").replace("<td>", "").replace("<td class=\"n\">", ""))
        .collect();
    assert_eq!(rows.len(), 2, "a setting that is new in the program did not change: {table}");
    assert!(rows[0].starts_with("2|batch_size|4|8|"), "{}", rows[0]);
    assert!(rows[1].starts_with("3|version of rvc-run|0.1.0|0.2.0|"), "{}", rows[1]);
    resumed().save(&workspace, "other");
    let compared = read(&report::compare(&workspace, &[RUN.into(), "other".into()]).unwrap());
    let table = compared.split_once("Settings that changed when a training resumed").unwrap().1;
    assert_eq!(table.split_once("</table>").unwrap().0.matches("<td>batch_size</td>").count(), 2);
}

/// A run with samples in folders of its own.
fn heard(workspace: &Workspace, run: &str, name: &str, params: &Value, epochs: &[i64], noise: f64) {
    let mut log = Log::empty();
    log.line("start", &start(name, params));
    log.event("dataset", &json!({ "clips": 118, "seconds": 412.4, "recordings": [] }));
    for epoch in epochs {
        let (path, of) = (format!("logs/{name}/{epoch}.wav"), format!("logs/{name}/original.wav"));
        io::write_wav(&workspace.path(&path), &voice(0.2, 16_000, noise / *epoch as f64), 16_000).unwrap();
        io::write_wav(&workspace.path(&of), &voice(0.2, 16_000, 0.0), 16_000).unwrap();
        log.event("sample", &json!({ "epoch": epoch, "path": path, "of": of }));
        let metrics = json!({ "loss_mel": 30.0 - *epoch as f64 - noise, "loss_kl": 1.5 - noise });
        log.metrics(*epoch, &json!({ "loss_mel": 30.0 - *epoch as f64 - noise, "loss_kl": 1.5 - noise, "validation_loss_mel": 20.0 - noise }));
        log.event("epoch", &json!({ "epoch": epoch, "step": epoch, "seconds": 1.0, "metrics": metrics }));
    }
    log.save(workspace, run);
}

#[test]
fn a_comparison_has_the_players_of_all_runs_side_by_side() {
    let (_keep, workspace) = workspace();
    heard(&workspace, "one", "anna", &json!({ "batch_size": 4 }), &[10, 20, 30], 0.3);
    heard(&workspace, "two", "ben", &json!({ "batch_size": 8 }), &[20, 40], 0.23);
    let path = report::compare(&workspace, &["one".into(), "two".into()]).unwrap();
    let page = read(&path);
    let listen = page.split_once("<h2>Listen</h2>").unwrap().1.split_once("</table>").unwrap().0;
    let rows: Vec<(&str, usize)> = listen
        .split("<th scope=\"row\">")
        .skip(1)
        .map(|row| (row.split_once('<').unwrap().0, row.matches("<audio").count()))
        .collect();
    assert_eq!(rows, [("original", 1), ("epoch 10", 1), ("epoch 20", 2), ("epoch 30", 1), ("epoch 40", 1)]);
    assert!(listen.contains("the same as original of A"), "the same sound is in the page once");
    // The results of four kinds, the players, what differs.
    fits(&path, page.matches("class=\"scroll fit").count());
    // Nothing in the settings makes the losses incomparable, and the better run is marked.
    assert!(!page.contains("cannot be compared") && page.split_once("What differs").unwrap().0.contains("<strong>"));
}

#[test]
fn losses_that_measure_different_things_are_marked_with_the_reason() {
    let (_keep, workspace) = workspace();
    let compared = |other: &Value| {
        heard(
            &workspace,
            "one",
            "anna",
            &json!({ "segment_size": 6400, "sample_rate": 40_000, "preset": "tiny", "c_mel": 45.0 }),
            &[1, 2],
            0.3,
        );
        heard(&workspace, "two", "anna", other, &[1, 2], 0.2);
        read(&report::compare(&workspace, &["one".into(), "two".into()]).unwrap())
    };
    for (key, value, reason) in [
        ("segment_size", json!(12_800), "segment_size is 6400 in A and 12800 in B"),
        ("sample_rate", json!(48_000), "sample_rate is 40000 in A and 48000 in B"),
        ("preset", json!("full"), "preset is tiny in A and full in B"),
    ] {
        let mut other = json!({ "segment_size": 6400, "sample_rate": 40_000, "preset": "tiny", "c_mel": 45.0 });
        other[key] = value;
        let page = compared(&other);
        assert!(page.contains(&format!("Losses (≠) of these runs cannot be compared: {reason}.")), "{reason}");
        let results = page.split_once("<h2>Results</h2>").unwrap().1.split_once("<h2>").unwrap().0;
        for column in ["best loss_mel ≠", "last loss_kl ≠", "validation_loss_mel ≠"] {
            assert!(results.contains(column), "{column}: {results}");
        }
        assert!(!results.contains("<strong>"), "no run is the best: {results}");
        assert!(data(&page)["charts"][0]["title"].as_str().unwrap().ends_with("≠ not comparable"));
    }
    // The weight of one loss affects only that loss.
    let page = compared(&json!({ "segment_size": 6400, "sample_rate": 40_000, "preset": "tiny", "c_mel": 30.0 }));
    assert!(
        page.contains("loss_mel (≠) of these runs cannot be compared: its weight c_mel is 45.0 in A and 30.0 in B.")
    );
    assert!(page.contains("<th scope=\"col\" class=\"n\">last loss_kl</th>") && page.contains("last loss_mel ≠"));
    // Settings that change how fast a training learns do not change what is measured.
    let page = compared(
        &json!({ "segment_size": 6400, "sample_rate": 40_000, "preset": "tiny", "c_mel": 45.0, "learning_rate": 1e-3, "batch_size": 9 }),
    );
    assert!(!page.contains("cannot be compared"));
}

#[test]
fn other_data_and_another_validation_set_are_reasons_too() {
    let (_keep, workspace) = workspace();
    for (run, clips, held) in [("one", 118, 12), ("two", 90, 30)] {
        let mut log = Log::started();
        log.event("dataset", &json!({ "clips": clips, "seconds": 60.0, "recordings": [] }));
        log.event("validation", &json!({ "clips": held, "seconds": 20.0 }));
        log.metrics(1, &json!({ "loss_mel": 30.0, "validation_loss_mel": 20.0 }));
        log.save(&workspace, run);
    }
    let page = read(&report::compare(&workspace, &["one".into(), "two".into()]).unwrap());
    assert!(page.contains("the training data is 118 clips, 1 min 0 s, in A and 90 clips, 1 min 0 s, in B"));
    assert!(page.contains("Validations (≠) of these runs cannot be compared: the validation set is 12 clips"));
}

#[test]
fn the_page_the_list_and_the_console_show_the_same_times() {
    let (_keep, workspace) = workspace();
    let mut log = resumed();
    log.line("finish", &json!({ "status": "done", "summary": {} }));
    // Storing after the end takes time that does not count as work on the run.
    log.wait(500.0);
    log.line("artifact", &json!({ "path": "tracking/reports/x.html", "to": "x.html" }));
    log.event("stage", &json!({ "stage": "export", "seconds": 400.0, "done": 1, "summary": "" }));
    log.save(&workspace, RUN);
    let record = track::read(&workspace.tracking().join("events").join(format!("{RUN}.jsonl"))).unwrap();
    let overview = track::Overview::of(&record, "loss_mel");
    assert_eq!(
        (record.seconds(), overview.run_seconds, overview.run_train_seconds, overview.processes),
        (90.0, 90.0, 60.0, 3)
    );
    let page = page(&workspace);
    assert!(
        page.contains("<dt>Worked</dt><dd>1 min 30 s</dd>") && page.contains("1 min 0 s of it in epochs"),
        "{page}"
    );
}
