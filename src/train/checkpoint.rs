//! Checkpoints: G_<epoch>.pth and D_<epoch>.pth as RVC writes them, EMA_<epoch>.pth if the generator is averaged, and checkpoint_<epoch>.json,
//! the manifest with their digests, written last.
//!
//! A pair without a manifest whose digests verify is not trusted. Opening takes the newest pair that verifies and
//! reports those that it skipped; it never starts over without --fresh if something was trained.
//! Source: spec G.1, G.2; reliability notes 1.4.

use crate::config::Config;
use crate::config::choices::CheckpointOrder;
use crate::models::encoder::same_encoder;
use crate::models::weights;
use crate::nn::{Params, runtime};
use crate::task::Task;
use crate::torchfile::{self, TorchFile, Value};
use crate::train::average;
use crate::train::optim::{self, AdamW, Order};
use crate::train::pretrained::BaseRecord;
use crate::train::step::Engine;
use crate::{Error, Kind, Result, files};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Raised when the manifest's meaning changes.
const SCHEMA: i64 = 1;

/// The key that marks G_ and D_ files written by rvc-run.
pub const MARK: &str = "rvc_run";
/// The settings that must equal the checkpoint's.
const FIXED: [&str; 5] = ["sample_rate", "version", "if_f0", "preset", "spk_embed_dim"];

/// The progress of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The next or running epoch, counted from 1.
    pub epoch: i64,
    /// Steps done in it.
    pub step_in_epoch: i64,
    /// Steps done in the whole training.
    pub step: i64,
}

impl Position {
    /// The number in the file names: the running epoch, or the last whole one between epochs.
    pub fn name(self) -> i64 {
        if self.step_in_epoch == 0 { self.epoch - 1 } else { self.epoch }
    }
}

/// checkpoint_<epoch>.json.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: i64,
    /// The number in the file names; see [`Position::name`].
    pub epoch: i64,
    pub next: Position,
    pub seed: i64,
    pub learning_rate: f64,
    /// Digests of the pair, and of the averaged generator if there is one, by file name.
    pub files: BTreeMap<String, FileDigest>,
    /// Sums of the running epoch's metrics, so that its means come out the same after a resume.
    pub sums: BTreeMap<String, f64>,
    /// Means of the last whole epoch.
    pub losses: BTreeMap<String, f64>,
    /// The pretrained files of the first epoch; empty for random weights.
    #[serde(default)]
    pub base: BaseRecord,
    /// The encoder of the clips' content features, if known; see [`crate::train::Dataset::encoded_by`].
    #[serde(default)]
    pub content_digest: Option<String>,
    /// Names of the speakers by number, "" for one without a name; empty for a single speaker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<String>,
    /// The file name of the recipe that trained, if any.
    #[serde(default)]
    pub recipe: Option<String>,
    pub config: Map<String, serde_json::Value>,
    pub config_digest: String,
    pub data_digest: String,
    /// The clips that the epochs were trained on, oldest first; empty in old manifests.
    #[serde(default)]
    pub lineage: Vec<DataSpan>,
    pub tool: String,
    pub libtorch: String,
    pub device: String,
    /// Threads of one libtorch operation: sums are split among them, so their number affects the last bits.
    pub threads: usize,
}

/// The epochs from `from_epoch` up to the next span's, trained on the clips with this digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSpan {
    pub from_epoch: i64,
    /// Of sound, pitch and content. Empty if another program trained these epochs, on clips that nobody knows.
    pub data_digest: String,
    /// Of the sound; None in old manifests, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pitch_digest: Option<String>,
    /// What differs from the span before: "clips" (and all that is made of them), "f0", "content features", "clips or features" if that is
    /// unknown. Empty in the first span and after epochs of another program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub changed: String,
}

impl DataSpan {
    /// What differs from the span `before`, if they are not equal; `content` is whether the encoder of the content differs.
    fn changed_from(&self, before: &Self, content: bool) -> &'static str {
        if before.data_digest.is_empty() {
            return "";
        }
        match (&before.sound_digest, &before.pitch_digest) {
            (Some(sound), _) if Some(sound) != self.sound_digest.as_ref() => "clips",
            (Some(_), Some(pitch)) if Some(pitch) == self.pitch_digest.as_ref() => "content features",
            (Some(_), Some(_)) if content => "f0 and content features",
            (Some(_), Some(_)) => "f0",
            _ => "clips or features",
        }
    }

    /// "the f0 has changed"; None if nothing has, or if that is unknown.
    pub fn change(&self) -> Option<String> {
        let has = if self.changed == "f0" { "has" } else { "have" };
        (!self.changed.is_empty()).then(|| format!("the {} {has} changed", self.changed))
    }
}

impl Manifest {
    /// Whether it has a digest for a file of this name.
    pub fn names(&self, path: &Path) -> bool {
        self.files.contains_key(&file_name(path))
    }

    /// The spans that have trained something before the epoch `next`.
    fn spans_before(&self, next: i64) -> Vec<DataSpan> {
        let mut spans = self.lineage.clone();
        if spans.is_empty() {
            spans.push(DataSpan { from_epoch: 1, data_digest: self.data_digest.clone(), ..DataSpan::default() });
        }
        spans.retain(|span| span.from_epoch < next);
        spans
    }

    /// The lineage of a training that resumes here, with the clips of `now` and the content of an encoder with this digest.
    pub fn lineage_with(&self, now: DataSpan, content: Option<&str>) -> Vec<DataSpan> {
        let mut spans = self.spans_before(self.next.epoch.max(2));
        match spans.last() {
            Some(last) if last.data_digest == now.data_digest => {}
            last => {
                let other_content = content != self.content_digest.as_deref();
                let changed = last.map_or("", |last| now.changed_from(last, other_content)).to_owned();
                spans.push(DataSpan { from_epoch: self.next.epoch, changed, ..now });
            }
        }
        spans
    }

    /// The lineage of a training that another program continued from here to its epoch `epoch`, and that now continues with the clips of `now`.
    pub fn lineage_after(&self, epoch: i64, now: DataSpan) -> Vec<DataSpan> {
        // RVC runs the epoch of a checkpoint again, so both may have the same.
        let theirs = self.next.epoch.min(epoch);
        let mut spans = self.spans_before(theirs);
        if spans.last().is_some_and(|last| !last.data_digest.is_empty()) {
            spans.push(DataSpan { from_epoch: theirs, ..DataSpan::default() });
        }
        spans.push(now);
        spans
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    pub sha256: String,
    pub bytes: u64,
}

/// The paths of a checkpoint's three files: G, D, manifest.
pub fn paths(logs: &Path, epoch: i64) -> [PathBuf; 3] {
    [format!("G_{epoch}.pth"), format!("D_{epoch}.pth"), format!("checkpoint_{epoch}.json")].map(|name| logs.join(name))
}

/// The path of a checkpoint's averaged generator, which exists if `ema_decay` was above 0.
pub fn average_path(logs: &Path, epoch: i64) -> PathBuf {
    logs.join(format!("EMA_{epoch}.pth"))
}

/// The order of the parameters of both networks in the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub g: Order,
    pub d: Order,
}

impl Layout {
    /// The order of a new training's files. `checkpoint_order` "auto" is RVC's.
    pub fn new(config: &Config, engine: &Engine) -> Self {
        let (g, d) = (engine.generator.params(), engine.discriminator.params());
        match config.checkpoint_order {
            CheckpointOrder::Applio => Self { g: Order::applio(g), d: Order::own(d) },
            CheckpointOrder::Auto | CheckpointOrder::Rvc => Self { g: Order::own(g), d: Order::own(d) },
        }
    }
}

/// Writes a checkpoint: G, D, the averaged generator, then the manifest, whose `files` are filled in here. A failure removes its files.
///
/// Errors: `file.write`, `file.disk_full`; older checkpoints are untouched.
pub fn write(logs: &Path, engine: &Engine, layout: &Layout, mut manifest: Manifest) -> Result<()> {
    let [g, d, json] = paths(logs, manifest.epoch);
    let ema = average_path(logs, manifest.epoch);
    let existed = [g.exists(), d.exists(), ema.exists()];
    let result = (|| {
        let (base, rate) =
            (manifest.config.get("learning_rate").and_then(serde_json::Value::as_f64), manifest.learning_rate);
        let state = |params: &Params, order: &Order| {
            let listed: Vec<(&str, &tch::Tensor)> = params.iter().collect();
            Value::ordered(order.places().map(|i| (listed[i].0, Value::Tensor(listed[i].1.shallow_clone()))))
        };
        let network = |params: &Params, optimizer: &AdamW, order: &Order| {
            Value::dict([
                ("model", state(params, order)),
                ("iteration", Value::Int(manifest.epoch)),
                ("optimizer", optimizer.state_dict(rate, order)),
                ("learning_rate", Value::Float(base.unwrap_or(rate))),
                (MARK, Value::text(env!("CARGO_PKG_VERSION"))),
            ])
        };
        torchfile::write(&g, &network(engine.generator.params(), &engine.generator_optimizer, &layout.g))?;
        torchfile::write(&d, &network(engine.discriminator.params(), &engine.discriminator_optimizer, &layout.d))?;
        let mut written = vec![&g, &d];
        if let Some(average) = &engine.average {
            let params = engine.generator.params();
            let file = |updates| {
                Value::dict([
                    ("model", state(params, &layout.g)),
                    ("iteration", Value::Int(manifest.epoch)),
                    (average::UPDATES, Value::Int(updates)),
                    (MARK, Value::text(env!("CARGO_PKG_VERSION"))),
                ])
            };
            average.with_averaged_weights(|| torchfile::write(&ema, &file(average.updates())))?;
            written.push(&ema);
        } else {
            files::remove(&ema)?; // left by a training with an average at the same epoch
        }
        manifest.files = written.into_iter().map(|path| Ok((file_name(path), digest(path)?))).collect::<Result<_>>()?;
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| Error::new(Kind::Internal, format!("the manifest cannot be written: {e}")))?;
        files::write(&json, text + "\n")
    })();
    if result.is_err() {
        // Half a pair is useless and may be what fills the disk; a pair that was there before keeps its own manifest.
        for (path, _) in [&g, &d, &ema].into_iter().zip(existed).filter(|(_, existed)| !existed) {
            let _ = files::remove(path);
        }
    }
    result.map_err(|e: Error| e.context(format_args!("checkpoint of epoch {} not saved", manifest.epoch)))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn digest(path: &Path) -> Result<FileDigest> {
    let bytes = std::fs::metadata(path).map_err(|e| Error::io("look at", path, e))?.len();
    Ok(FileDigest { sha256: files::digest_file(path)?, bytes })
}

/// A manifest of the current settings for a checkpoint at `next`; sums, losses and files are empty.
pub fn manifest(config: &Config, data_digest: &str, next: Position, device: tch::Device) -> Result<Manifest> {
    let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(config) else {
        return Err(Error::new(Kind::Internal, "the settings are not a JSON object"));
    };
    let epoch = next.name();
    Ok(Manifest {
        schema: SCHEMA,
        epoch,
        next,
        seed: config.seed,
        learning_rate: optim::learning_rate(config, epoch.max(1)),
        files: BTreeMap::new(),
        sums: BTreeMap::new(),
        losses: BTreeMap::new(),
        base: BaseRecord::default(),
        content_digest: None,
        speakers: Vec::new(),
        recipe: None,
        config_digest: files::digest(serde_json::Value::from(settings.clone()).to_string()),
        config: settings,
        data_digest: data_digest.to_owned(),
        lineage: Vec::new(),
        tool: format!("rvc-run {}", env!("CARGO_PKG_VERSION")),
        libtorch: runtime::libtorch_version().unwrap_or_default(),
        device: format!("{device:?}"),
        threads: runtime::threads(),
    })
}

/// Whether rvc-run wrote a G_ or D_ file.
pub fn is_ours(file: &TorchFile) -> bool {
    file.value(&[MARK]).is_some()
}

/// The newest checkpoint that verifies, or None in a folder where rvc-run trained nothing. Each skipped one is a warning.
///
/// Errors: `checkpoint.damaged` if something was trained here and no pair verifies; `file.read`.
pub fn newest(task: &Task, logs: &Path) -> Result<Option<Manifest>> {
    let mut epochs = numbered(logs, "checkpoint_", ".json")?;
    for number in without_manifest(logs)? {
        // An unreadable file may be ours as well: skip it with a warning.
        let ours = |path: &PathBuf| torchfile::read(path).map_or(true, |file| is_ours(&file));
        if paths(logs, number)[..2].iter().filter(|path| path.exists()).any(ours) {
            epochs.push(number);
        }
    }
    epochs.sort_unstable();
    epochs.dedup();
    let mut passed = 0;
    for &epoch in epochs.iter().rev() {
        match verify(logs, epoch) {
            Ok(manifest) => {
                if passed > 0 {
                    task.warn(format!("going back to the checkpoint of epoch {epoch}, the newest that is whole"));
                }
                return Ok(Some(manifest));
            }
            Err(error) if error.kind() == Kind::CheckpointDamaged => {
                passed += 1;
                task.warn(format!("checkpoint of epoch {epoch} is not used: {}", error.message()));
            }
            Err(error) => return Err(error),
        }
    }
    match epochs.last() {
        // Stopped before the first manifest: no training can be lost.
        None | Some(0) => Ok(None),
        Some(_) => Err(Error::new(
            Kind::CheckpointDamaged,
            format!("none of the {} checkpoints in {} is whole", epochs.len(), logs.display()),
        )
        .path(logs)
        .hint("restore an undamaged G_, D_ and checkpoint_ file of one epoch, or start over with --fresh, which keeps the old files in another folder")),
    }
}

/// Removes our checkpoints of all other epochs, manifest first, so that a half removed one is not trusted. Returns
/// the epochs removed. Errors: `file.read`, `file.write`.
pub fn prune(logs: &Path, keep: impl Fn(i64) -> bool) -> Result<Vec<i64>> {
    let mut epochs = numbered(logs, "checkpoint_", ".json")?;
    epochs.sort_unstable();
    epochs.retain(|&epoch| !keep(epoch));
    for &epoch in &epochs {
        for path in paths(logs, epoch).iter().rev() {
            files::remove(path)?;
        }
        files::remove(&average_path(logs, epoch))?;
    }
    Ok(epochs)
}

/// The epochs with a manifest, oldest first, as text: "0, 10, 20". Errors: `file.read`.
pub fn saved_epochs(logs: &Path) -> Result<String> {
    Ok(epochs(logs)?.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// The epochs of our checkpoints, in order, by the names of their manifests. Errors: `file.read`.
pub fn epochs(logs: &Path) -> Result<Vec<i64>> {
    let mut epochs = numbered(logs, "checkpoint_", ".json")?;
    epochs.sort_unstable();
    Ok(epochs)
}

/// The numbers of G_ and D_ files without a manifest, sorted. Errors: `file.read`.
pub fn without_manifest(logs: &Path) -> Result<Vec<i64>> {
    let mut numbers = numbered(logs, "G_", ".pth")?;
    numbers.extend(numbered(logs, "D_", ".pth")?);
    numbers.sort_unstable();
    numbers.dedup();
    numbers.retain(|&number| !paths(logs, number)[2].exists());
    Ok(numbers)
}

/// The epochs with a manifest, damaged or not. Errors: `file.read`.
pub fn with_manifest(logs: &Path) -> Result<Vec<i64>> {
    numbered(logs, "checkpoint_", ".json")
}

/// Links the files of an epoch's checkpoint into a new folder `replaced_<n>`, so that its number is free again. Errors: `file.write`.
pub fn keep_aside(logs: &Path, epoch: i64) -> Result<PathBuf> {
    let folder = files::numbered_folder(logs, "replaced")?;
    let all = paths(logs, epoch).into_iter().chain([average_path(logs, epoch)]);
    for path in all.filter(|path| path.is_file()) {
        files::link(&path, &folder.join(file_name(&path)))?;
    }
    Ok(folder)
}

/// The numbers of the files `<prefix><number><suffix>`.
fn numbered(logs: &Path, prefix: &str, suffix: &str) -> Result<Vec<i64>> {
    if !logs.exists() {
        return Ok(Vec::new());
    }
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    Ok(files::list(logs)?.iter().filter_map(number).collect())
}

/// The manifest of an epoch, if it and its files verify. Errors: `checkpoint.damaged`, `file.read`.
pub fn verify(logs: &Path, epoch: i64) -> Result<Manifest> {
    let [_, _, json] = paths(logs, epoch);
    let damaged = |why: String| Error::new(Kind::CheckpointDamaged, why).path(&json);
    if !json.exists() {
        return Err(damaged(format!(
            "{} is missing, so saving was interrupted or another program wrote it",
            file_name(&json)
        )));
    }
    let manifest: Manifest = serde_json::from_slice(&files::read(&json)?)
        .map_err(|e| damaged(format!("{} cannot be read: {e}", file_name(&json))))?;
    if manifest.schema != SCHEMA || manifest.epoch != epoch || manifest.next.name() != epoch {
        return Err(damaged(format!("{} does not fit its name or this version of rvc-run", file_name(&json))));
    }
    let [g, d, _] = paths(logs, epoch);
    let ema = average_path(logs, epoch);
    let averaged = manifest.names(&ema).then_some(&ema);
    for path in [&g, &d].into_iter().chain(averaged) {
        let name = file_name(path);
        let expected =
            manifest.files.get(&name).ok_or_else(|| damaged(format!("the manifest does not list {name}")))?;
        if !path.exists() {
            return Err(damaged(format!("{name} is missing")));
        }
        let bytes = std::fs::metadata(path).map_err(|e| Error::io("look at", path, e))?.len();
        if bytes != expected.bytes {
            return Err(damaged(format!("{name} has {bytes} bytes instead of {}", expected.bytes)));
        }
        if files::digest_file(path)? != expected.sha256 {
            return Err(damaged(format!("{name} was changed")));
        }
    }
    Ok(manifest)
}

impl Manifest {
    /// Errors with `config.mismatch`, naming both values, if the checkpoint is of another rate, version or preset.
    pub fn check(&self, config: &Config) -> Result<()> {
        match self.changed(config).into_iter().find(|(key, _, _)| FIXED.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, old, new)) => Err(Error::new(
                Kind::ConfigMismatch,
                format!(
                    "the checkpoint of epoch {} was made with {key} {old}, but the settings ask for {new}",
                    self.epoch
                ),
            )
            .hint("use another voice name, or the settings of the checkpoint, or --fresh to start over")),
        }
    }

    /// Errors with `checkpoint.mismatch` if the clips' content features come from another encoder than the training's so far: the
    /// network cannot read them. No error if one of the two encoders is unknown.
    pub fn check_content(&self, digest: Option<&str>) -> Result<()> {
        match (self.content_digest.as_deref(), digest) {
            (Some(old), Some(new)) if !same_encoder(old, new) => Err(Error::new(
                Kind::CheckpointMismatch,
                format!("this voice was trained on content features of {old}, but the clips' are of {new}"),
            )
            .hint("prepare the clips with the encoder of the training, or start over with --fresh and the new one")),
            _ => Ok(()),
        }
    }

    /// The differing settings that affect training: name, the checkpoint's value, the current value.
    pub fn changed(&self, config: &Config) -> Vec<(String, serde_json::Value, serde_json::Value)> {
        let Ok(serde_json::Value::Object(now)) = serde_json::to_value(config) else { return Vec::new() };
        now.into_iter()
            .filter_map(|(key, new)| match self.config.get(&key) {
                Some(old) if *old != new => Some((key, old.clone(), new)),
                _ => None,
            })
            .collect()
    }
}

/// Loads the networks and optimizers from the checkpoint.
///
/// Errors: `checkpoint.mismatch`, naming what does not fit; `checkpoint.damaged`; the engine must not be used after an error.
pub fn load(logs: &Path, manifest: &Manifest, engine: &mut Engine) -> Result<Layout> {
    let [g, d, _] = paths(logs, manifest.epoch);
    let layout = load_pair(&g, &d, engine)?;
    if let Some(average) = &mut engine.average {
        let path = average_path(logs, manifest.epoch);
        if manifest.names(&path) {
            let file = torchfile::read(&path)?;
            average.load(&file, engine.generator.params()).map_err(|e| e.context(path.display()).path(&path))?;
        }
    }
    Ok(layout)
}

/// Loads the networks and optimizers from a G_ and a D_ file of any program; returns the files' order.
///
/// Errors: as [`load`].
pub(super) fn load_pair(g: &Path, d: &Path, engine: &mut Engine) -> Result<Layout> {
    let of = |path: &Path, params: &Params, optimizer: &mut AdamW| {
        let mut fill = || {
            let file = torchfile::read(path)?;
            let order = Order::of_keys(params, &weights::fill(&file, "model", params)?)?;
            optimizer.load(&file, &order)?;
            Ok(order)
        };
        fill().map_err(|e: Error| e.context(path.display()).path(path))
    };
    let layout = Layout {
        g: of(g, engine.generator.params(), &mut engine.generator_optimizer)?,
        d: of(d, engine.discriminator.params(), &mut engine.discriminator_optimizer)?,
    };
    if let Some(average) = &mut engine.average {
        average.restart()?;
    }
    Ok(layout)
}

/// Moves all checkpoints of a folder, config.json and train.log into a new folder `replaced_<n>` in it; None without any.
///
/// Errors: `file.write`.
pub fn set_aside(logs: &Path) -> Result<Option<PathBuf>> {
    let mut names = Vec::new();
    for (prefix, suffix) in [("checkpoint_", ".json"), ("G_", ".pth"), ("D_", ".pth"), ("EMA_", ".pth")] {
        let mut numbers = numbered(logs, prefix, suffix)?;
        // Manifests first and newest first: after a crash at any point, no old state is taken for the newest.
        numbers.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
        names.extend(numbers.into_iter().map(|n| format!("{prefix}{n}{suffix}")));
    }
    if names.is_empty() {
        return Ok(None);
    }
    names.extend(["config.json", "train.log"].map(str::to_owned).into_iter().filter(|name| logs.join(name).exists()));
    let folder = files::numbered_folder(logs, "replaced")?;
    for name in names {
        let from = logs.join(&name);
        std::fs::rename(&from, folder.join(&name)).map_err(|e| Error::io("move", &from, e))?;
    }
    Ok(Some(folder))
}
