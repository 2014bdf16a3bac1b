//! The trainer for recipes: open, run an epoch, save, export. The epoch loop itself is in the recipe.

mod validation;

pub use validation::Judge;

use crate::assets::Store;
use crate::config::Config;
use crate::config::choices::{CheckpointOrder, Preset};
use crate::files::{self, Lock};
use crate::models::{Discriminator, Synthesizer, SynthesizerConfig};
use crate::nn::{pace::Pace, runtime};
use crate::shown::counted;
use crate::task::{Stage, Task};
use crate::train::checkpoint::{self, Layout, Manifest, Position};
use crate::train::foreign::{self, Pair};
use crate::train::log::{Shown, TrainLog};
use crate::train::pretrained::{self, Base, BaseRecord};
use crate::train::step::{Engine, METRICS, Times};
use crate::train::{Dataset, config_json, export, learning_rate};
use crate::{Error, Kind, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tch::Device;

/// Speed: steps, and seconds of windows that the decoder generates.
const SPEEDS: [&str; 2] = ["steps_per_second", "audio_seconds_per_second"];

/// Numbers by name, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<(&'static str, f64)>);

impl Metrics {
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.iter().copied()
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// A step's metrics, for the record of the run.
pub struct StepReport {
    pub epoch: i64,
    /// Steps of the whole training before this one.
    pub step: i64,
    /// This step's place in the epoch, from 0.
    pub step_in_epoch: i64,
    pub steps_in_epoch: i64,
    /// loss_disc, loss_gen, loss_fm, loss_mel, loss_kl, grad_norm_g, grad_norm_d, learning_rate, steps_per_second,
    /// audio_seconds_per_second (of the windows that the decoder generated); on steps with a line in train.log also the losses of each
    /// part of the discriminator, under RVC's names: loss/g/0, loss/d_r/0, loss/d_g/0 and so on.
    pub metrics: Metrics,
    pub seconds: f64,
    pub times: Times,
}

/// Earlier training in a folder.
enum Found {
    Nothing,
    Ours(Box<Manifest>),
    /// Another program's, and the checkpoint of ours that it continued or replaced, if any.
    Foreign(Pair, Option<Box<Manifest>>),
}

impl Found {
    /// The checkpoint that has been trained furthest. Errors: `checkpoint.damaged` if there are some and none verifies; `file.read`.
    fn look(task: &Task, logs: &Path) -> Result<Self> {
        let ours = checkpoint::newest(task, logs)?.map(Box::new);
        Ok(match (foreign::newest(task, logs, ours.as_deref())?, ours) {
            (Some(pair), ours) => Self::Foreign(pair, ours),
            (None, Some(manifest)) => Self::Ours(manifest),
            (None, None) => Self::Nothing,
        })
    }

    /// Our own checkpoint in it.
    fn ours(&self) -> Option<&Manifest> {
        match self {
            Self::Nothing => None,
            Self::Ours(manifest) => Some(manifest),
            Self::Foreign(_, manifest) => manifest.as_deref(),
        }
    }

    /// The settings with the base that our training started from. Another one that is named later has no effect, which is a warning; "default"
    /// and "none" may be nobody's choice.
    fn with_base(&self, task: &Task, mut config: Config) -> Config {
        let Some(manifest) = self.ours() else { return config };
        for (setting, named) in [("pretrained_g", &mut config.pretrained_g), ("pretrained_d", &mut config.pretrained_d)]
        {
            let Some(first) = manifest.config.get(setting).and_then(Value::as_str).filter(|first| first != named)
            else {
                continue;
            };
            if !["default", "none"].contains(&named.as_str()) {
                task.warn(format!(
                    "{setting} {named} has no effect: the voice continues a training that started from {first}; --fresh starts again"
                ));
            }
            first.clone_into(named);
        }
        config
    }

    /// The settings with the number of speaker rows in the weights that training resumes or starts from. config.json is not
    /// reliable: Applio's always says 109, though its table has one row per speaker.
    ///
    /// Errors: `config.mismatch` if the settings have neither RVC's number nor the weights'; `checkpoint.damaged`, `file.*`.
    fn with_speakers(&self, task: &Task, config: &Config, base: &Base) -> Result<Config> {
        let (rows, whose) = match self {
            Self::Nothing => (base.speakers()?, "the base"),
            Self::Ours(manifest) => (manifest.config.get("spk_embed_dim").and_then(Value::as_i64), "the checkpoint"),
            Self::Foreign(pair, _) => (pair.speakers()?, "the checkpoint"),
        };
        let usual = Config::default().spk_embed_dim;
        match rows {
            None => Ok(config.clone()),
            Some(rows) if rows == config.spk_embed_dim => Ok(config.clone()),
            Some(rows) if config.spk_embed_dim == usual => {
                let rows_of = counted(rows, "row");
                task.info(format!(
                    "{whose} has {rows_of} in its speaker table instead of {usual}, and so has this voice"
                ));
                Ok(Config { spk_embed_dim: rows, ..config.clone() })
            }
            Some(rows) => Err(Error::new(
                Kind::ConfigMismatch,
                format!(
                    "spk_embed_dim is {}, but {whose} has {} in its speaker table",
                    config.spk_embed_dim,
                    counted(rows, "row")
                ),
            )
            .hint(format!("leave out spk_embed_dim, or set it to {rows}"))),
        }
    }
}

/// A training of one voice in its logs folder, which is locked while this value lives.
pub struct Trainer {
    config: Config,
    data: Dataset,
    logs: PathBuf,
    engine: Engine,
    log: TrainLog,
    position: Position,
    /// Sums of the running epoch's metrics.
    sums: [f64; METRICS.len()],
    losses: BTreeMap<String, f64>,
    /// The position of the newest checkpoint on disk.
    saved: Option<Position>,
    layout: Layout,
    base: BaseRecord,
    lineage: Vec<checkpoint::DataSpan>,
    /// The recipe that trains, for the record.
    recipe: Option<String>,
    /// Why the networks must no longer be used.
    broken: Option<String>,
    pace: Pace,
    /// The epochs from here to the last, as one stage, so that it shows the time left of the training.
    progress: Option<Stage>,
    _lock: Lock,
}

impl Trainer {
    /// A training in `logs`: resumes after the newest intact checkpoint, ours or another program's, else starts from the base that the
    /// settings name and saves G_0 and D_0.
    ///
    /// `fresh` starts over; the old checkpoints, config.json and train.log are moved into a folder `replaced_<n>`.
    ///
    /// Errors: `file.locked`; `config.mismatch` and `checkpoint.mismatch` for files of another rate, preset or shape;
    /// `checkpoint.damaged` if something was trained here and no checkpoint is intact; `asset.missing` for a missing
    /// base; `file.write`, `file.disk_full`, `device.missing`, `device.memory`, `torch`.
    pub fn open(task: &Task, config: &Config, data: Dataset, logs: &Path, store: &Store, fresh: bool) -> Result<Self> {
        config.validate()?;
        let device = runtime::device(config.gpu)?;
        let lock = Lock::acquire(logs)?;
        files::remove_leftovers(logs)?;
        if fresh {
            if let Some(folder) = checkpoint::set_aside(logs)? {
                task.info(format!("starting over; the earlier training is kept in {}", folder.display()));
            }
        } else {
            config_json::check(logs, config)?;
        }
        let found = Found::look(task, logs)?;
        let base = if matches!(found, Found::Nothing) { Base::find(config, store)? } else { Base::default() };
        let config = &found.with_base(task, found.with_speakers(task, config, &base)?);
        data.check_speakers(config.spk_embed_dim)?;
        if let Some(manifest) = found.ours() {
            manifest.check(config)?;
            manifest.check_content(data.content_digest())?;
        }
        let engine = Engine::new(config, device)?;
        config_json::write(logs, config)?;
        config_json::name_speakers(logs, &(0..).zip(data.speakers().iter().cloned()).collect())?;
        // Another program's list no longer has names; its config.json does.
        let data = match data.speakers() {
            [] => data.spoken_by(config_json::speakers(logs, config.spk_embed_dim)?),
            _ => data,
        };
        let name = logs.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut trainer = Self {
            layout: Layout::new(config, &engine),
            config: config.clone(),
            data,
            logs: logs.to_owned(),
            engine,
            log: TrainLog::open(logs, &name)?,
            position: Position { epoch: 1, step_in_epoch: 0, step: 0 },
            sums: [0.0; METRICS.len()],
            losses: BTreeMap::new(),
            saved: None,
            base: BaseRecord::default(),
            lineage: Vec::new(),
            recipe: None,
            broken: None,
            pace: if device.is_cuda() { Pace::off() } else { Pace::new() },
            progress: None,
            _lock: lock,
        };
        trainer.log.settings(&trainer.log_settings(&name, &base)?)?;
        match found {
            Found::Ours(manifest) => trainer.resume(task, &manifest)?,
            Found::Foreign(pair, ours) => trainer.import(task, &pair, ours.as_deref())?,
            Found::Nothing => trainer.begin(task, &base)?,
        }
        Ok(trainer)
    }

    /// Returns the errors of [`Trainer::open`] that do not depend on clips, so that a recipe can check before it prepares any:
    /// `device.missing`, `config.value`, `config.mismatch` with an earlier training in `logs`; one `asset.missing` for all files that
    /// the settings need; and, for a new training, errors of the base: `checkpoint.damaged`, `checkpoint.mismatch`.
    ///
    /// `content` returns the digest of the clips' encoder, which may open it; it is called only if the encoder of the training
    /// so far is known, to compare the two: `checkpoint.mismatch`.
    pub fn check(
        task: &Task,
        config: &Config,
        logs: &Path,
        store: &Store,
        fresh: bool,
        content: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        config.validate()?;
        runtime::device(config.gpu)?;
        if !fresh {
            config_json::check(logs, config)?;
            let found = Found::look(task, logs)?;
            if !matches!(found, Found::Nothing) {
                let config = &found.with_speakers(task, config, &Base::default())?;
                if let Some(manifest) = found.ours() {
                    manifest.check(config)?;
                }
                store.require_for_training(&[pretrained::without_base(config)])?;
                if let Some(manifest) = found.ours().filter(|manifest| manifest.content_digest.is_some()) {
                    manifest.check_content(Some(&content()?))?;
                }
                return Ok(());
            }
        }
        store.require_for_training(std::slice::from_ref(config))?;
        let base = Base::find(config, store)?;
        if base != Base::default() {
            let sizes = SynthesizerConfig::from_config(&Found::Nothing.with_speakers(task, config, &base)?);
            if let Some(path) = &base.g {
                pretrained::load(path, Synthesizer::new(&sizes, Device::Cpu, 0)?.params())?;
            }
            if let Some(path) = &base.d {
                pretrained::load(path, Discriminator::new(&sizes, Device::Cpu, 0)?.params())?;
            }
        }
        Ok(())
    }

    /// Whether something was trained in `logs`, only by file names: opening verifies it.
    ///
    /// Errors: `file.read`.
    pub fn begun(logs: &Path) -> Result<bool> {
        let is_generator = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("G_") && name.ends_with(".pth")
        };
        Ok(logs.is_dir() && files::list(logs)?.iter().any(is_generator))
    }

    /// The first epoch, from a base or from random weights.
    fn begin(&mut self, task: &Task, base: &Base) -> Result<()> {
        if self.config.preset == Preset::Tiny
            && [&self.config.pretrained_g, &self.config.pretrained_d].contains(&&"default".to_owned())
        {
            task.info("the tiny preset has no pretrained base, so it starts from random weights");
        }
        for (path, params) in [(&base.g, self.engine.generator.params()), (&base.d, self.engine.discriminator.params())]
        {
            if let Some(path) = path {
                pretrained::load(path, params)?;
                task.info(format!("starting from {}", path.display()));
                self.log.line(&format!("loaded pretrained {}", path.display()))?;
                self.log.line("<All keys matched successfully>")?;
            }
        }
        self.base = base.record()?;
        if let Some(average) = &mut self.engine.average {
            average.restart()?; // It was created before the base was loaded.
        }
        self.save()
    }

    /// Resumes from a pair of another program, and saves it as our own. `ours`, the checkpoint before it, is kept.
    fn import(&mut self, task: &Task, pair: &Pair, ours: Option<&Manifest>) -> Result<()> {
        let (position, layout) = pair.load(&mut self.engine)?;
        self.position = position;
        // Which clips the other program trained on is unknown.
        self.lineage = vec![self.clips_from(position.epoch)];
        if let Some(ours) = ours {
            self.base = ours.base.clone();
            self.lineage = ours.lineage_after(pair.epoch, self.clips_from(position.epoch));
            if ours.epoch == pair.epoch {
                let folder = checkpoint::keep_aside(&self.logs, ours.epoch)?;
                task.info(format!(
                    "{} by another program is newer than rvc-run's checkpoint of epoch {} (step {} after {}), which is kept in {}",
                    file_name(&pair.g),
                    ours.epoch,
                    pair.step,
                    ours.next.step,
                    folder.display()
                ));
            }
        }
        self.keep_layout(layout);
        for path in [&pair.d, &pair.g] {
            self.log.line(&format!("Loaded checkpoint '{}' (epoch {})", path.display(), pair.epoch))?;
        }
        let ours = learning_rate(&self.config, pair.epoch.max(1));
        if let Some(theirs) = pair.learning_rate.filter(|theirs| (theirs / ours - 1.0).abs() > 1e-6) {
            task.info(format!(
                "learning_rate was {theirs:e} in epoch {}; with these settings it is {:e} in epoch {}",
                pair.epoch,
                learning_rate(&self.config, position.epoch),
                position.epoch
            ));
        }
        let aside = foreign::set_aside(&self.logs)?;
        self.save()?;
        aside.remove_originals()?;
        task.info(format!(
            "resuming after epoch {} (step {}) of another program; its checkpoints are kept in {}",
            pair.epoch,
            position.step,
            aside.folder.display()
        ));
        Ok(())
    }

    /// Saves in the order of the files that training resumes from, unless the settings name one.
    fn keep_layout(&mut self, layout: Layout) {
        if self.config.checkpoint_order == CheckpointOrder::Auto {
            self.layout = layout;
        }
    }

    fn resume(&mut self, task: &Task, manifest: &Manifest) -> Result<()> {
        let layout = checkpoint::load(&self.logs, manifest, &mut self.engine)?;
        self.keep_layout(layout);
        self.base = manifest.base.clone();
        self.lineage = manifest.lineage_with(self.clips_from(manifest.next.epoch), self.data.content_digest());
        self.position = manifest.next;
        self.losses = manifest.losses.clone();
        self.saved = Some(manifest.next);
        let changed = manifest.changed(&self.config);
        for (key, old, new) in changed.iter().filter(|(key, _, _)| key != "epochs") {
            task.info(format!("resuming with {key} {new} instead of {old}"));
        }
        let device = format!("{:?}", self.engine.device());
        if (device.as_str(), runtime::threads()) != (manifest.device.as_str(), manifest.threads) {
            task.info(format!(
                "the checkpoint was saved on {} with {}, and this run is on {device} with {}: numbers may differ in their last bits",
                manifest.device,
                counted(manifest.threads, "thread"),
                counted(runtime::threads(), "thread")
            ));
        }
        let other_data = manifest.data_digest != self.data.digest();
        if let Some(change) = self.lineage.last().filter(|_| other_data).and_then(checkpoint::DataSpan::change) {
            task.info(format!("{change} since the checkpoint; resuming with the current ones"));
        }
        if self.position.step_in_epoch > 0 {
            let batches_differ = changed.iter().any(|(key, _, _)| key == "batch_size");
            if other_data || batches_differ {
                task.warn(format!(
                    "epoch {} had begun with other batches, so it starts again from its first; {} of it {} counted twice",
                    self.position.epoch,
                    counted(self.position.step_in_epoch, "step"),
                    if self.position.step_in_epoch == 1 { "is" } else { "are" }
                ));
                self.position.step_in_epoch = 0;
                // Nothing is saved before the next step: it would get the name of the epoch before.
                self.saved = Some(self.position);
            } else {
                for (sum, name) in self.sums.iter_mut().zip(METRICS) {
                    *sum = manifest.sums.get(name).copied().unwrap_or(0.0);
                }
            }
        }
        self.set_older_aside(task, manifest)?;
        let [g, d, _] = checkpoint::paths(&self.logs, manifest.epoch);
        for path in [&d, &g] {
            self.log.line(&format!("Loaded checkpoint '{}' (epoch {})", path.display(), manifest.epoch))?;
        }
        task.info(format!("resuming after epoch {} (step {})", self.position.epoch - 1, self.position.step));
        Ok(())
    }

    /// Moves away other programs' pairs that are not newer than ours: those programs take the file with the largest number for the newest,
    /// and would resume from there.
    fn set_older_aside(&self, task: &Task, ours: &Manifest) -> Result<()> {
        let left = foreign::left(&self.logs)?;
        if left.is_empty() {
            return Ok(());
        }
        let aside = foreign::set_aside(&self.logs)?;
        aside.remove_originals()?;
        let names: Vec<String> = left.iter().map(|path| file_name(path)).collect();
        let (hold, are, them) = if names.len() == 1 { ("holds", "is", "it") } else { ("hold", "are", "them") };
        task.warn(format!(
            "{} by another program {hold} nothing newer than rvc-run's checkpoint of epoch {} and {are} kept in {}; to resume from {them} instead, move {them} back and {} away",
            names.join(", "),
            ours.epoch,
            aside.folder.display(),
            checkpoint::paths(&self.logs, ours.epoch).map(|path| file_name(&path)).join(", ")
        ));
        Ok(())
    }

    /// The dict of train.log's first line: config.json and the arguments of RVC's command line, in RVC's order.
    fn log_settings(&self, name: &str, base: &Base) -> Result<Value> {
        let folder = self.logs.display().to_string();
        let mut settings = Map::new();
        if let Value::Object(groups) = config_json::settings(&self.config)? {
            for (group, values) in groups {
                let sorted: BTreeMap<String, Value> =
                    values.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
                settings.insert(group, json!(sorted));
            }
        }
        settings["data"]["training_files"] = json!(format!("{folder}/filelist.txt"));
        let shown = |path: &Option<PathBuf>| path.as_ref().map_or(String::new(), |path| path.display().to_string());
        let rest = json!({
            "model_dir": folder,
            "experiment_dir": folder,
            "save_every_epoch": self.config.save_every,
            "name": name,
            "total_epoch": self.config.epochs,
            "pretrainG": shown(&base.g),
            "pretrainD": shown(&base.d),
            "version": self.config.version,
            "gpus": if self.engine.device().is_cuda() { "0" } else { "" },
            "sample_rate": self.config.rate_name(),
            "if_f0": i64::from(self.config.if_f0),
            "if_latest": 0,
            "save_every_weights": "0",
            "if_cache_data_in_gpu": 0,
        });
        settings.extend(rest.as_object().cloned().unwrap_or_default());
        Ok(Value::Object(settings))
    }

    /// The next epoch that [`Trainer::run_epoch`] runs, counted from 1.
    pub fn next_epoch(&self) -> i64 {
        self.position.epoch
    }

    /// The epoch in the name of a checkpoint of the current state: the running one, or the last whole one between epochs.
    pub fn epoch(&self) -> i64 {
        self.position.name()
    }

    /// Steps of the whole training so far.
    pub fn step(&self) -> i64 {
        self.position.step
    }

    /// Means of the last whole epoch, also right after a resume. None before the first.
    pub fn losses(&self) -> Option<Metrics> {
        let order = METRICS.into_iter().chain(["learning_rate"]).chain(SPEEDS);
        let known: Vec<_> = order.filter_map(|name| self.losses.get(name).map(|&value| (name, value))).collect();
        (!known.is_empty()).then_some(Metrics(known))
    }

    /// The clips that the epochs were and will be trained on, oldest first. After an import it begins with the first epoch trained here; epochs
    /// that another program trained in between have no digest.
    pub fn lineage(&self) -> Vec<checkpoint::DataSpan> {
        if !self.lineage.is_empty() {
            return self.lineage.clone();
        }
        vec![self.clips_from(1)]
    }

    fn clips_from(&self, epoch: i64) -> checkpoint::DataSpan {
        let [sound, pitch] = self.data.parts();
        checkpoint::DataSpan {
            from_epoch: epoch,
            data_digest: self.data.digest().to_owned(),
            sound_digest: Some(sound),
            pitch_digest: Some(pitch),
            changed: String::new(),
        }
    }

    pub fn dataset(&self) -> &Dataset {
        &self.data
    }

    pub fn folder(&self) -> &Path {
        &self.logs
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs the next epoch, or the rest of an interrupted one, and returns the means of its metrics: loss_disc, loss_gen, loss_fm,
    /// loss_mel, loss_kl, grad_norm_g, grad_norm_d, learning_rate, steps_per_second.
    ///
    /// `on_step` is called after every step. When the task is cancelled, the running step finishes and a checkpoint is saved; a
    /// training that resumes from it gives the same numbers bit for bit.
    /// Errors: `cancelled`; `train.not_finite` (the newest checkpoint is kept); `data.damaged`; `device.memory`, `torch`;
    /// `file.write`, `file.disk_full`; whatever `on_step` returns.
    pub fn run_epoch(&mut self, task: &Task, on_step: &mut dyn FnMut(&StepReport) -> Result<()>) -> Result<Metrics> {
        self.run_epoch_within(task, on_step, None)
    }

    /// Runs the next epoch as [`Trainer::run_epoch`], but starts no step that would not end within `limit`, judged by the longest step so
    /// far; it runs at least one. The next call runs the rest of the epoch. Returns the means of the steps of this epoch so far.
    pub fn run_epoch_within(
        &mut self,
        task: &Task,
        on_step: &mut dyn FnMut(&StepReport) -> Result<()>,
        limit: Option<Duration>,
    ) -> Result<Metrics> {
        self.usable()?;
        let epoch = self.position.epoch;
        let rate = learning_rate(&self.config, epoch);
        let batches = self.data.batches(epoch);
        let first = self.position.step_in_epoch as usize;
        if first == 0 {
            self.sums = [0.0; METRICS.len()];
        }
        let epochs_left = (self.config.epochs - epoch).max(0) as usize;
        let steps_left = batches.len() * (epochs_left + 1) - first;
        let _in_stage = self.progress.get_or_insert_with(|| task.stage("training", steps_left as u64)).enter();
        let _in_epoch = tracing::info_span!("epoch", number = epoch).entered();
        let start = Instant::now();
        let mut longest = Duration::ZERO;
        for (i, ids) in batches.iter().enumerate().skip(first) {
            if i > first && limit.is_some_and(|limit| start.elapsed() + longest > limit) {
                return Ok(self.means(rate, i, i - first, start.elapsed()));
            }
            let began = Instant::now();
            if task.is_cancelled() {
                self.save()?;
                return Err(Error::cancelled());
            }
            let report = self.run_step(ids, rate, i, batches.len())?;
            if let Some(progress) = &mut self.progress {
                progress.advance(1, note(epoch, self.config.epochs, &report.metrics));
            }
            on_step(&report)?;
            if let Some(changed) = self.pace.after(1.0, Duration::from_secs_f64(report.seconds)) {
                task.info(changed);
            }
            longest = longest.max(began.elapsed());
        }
        self.end_epoch(epoch, rate, batches.len(), first, start)?;
        let losses = self.losses().unwrap_or_default();
        if epoch >= self.config.epochs
            && let Some(progress) = self.progress.take()
        {
            let mel = losses.get("loss_mel").unwrap_or(f64::NAN);
            progress.finish(format!("epoch {epoch} of {}, mel {mel:.2}", self.config.epochs));
        }
        Ok(losses)
    }

    fn run_step(&mut self, ids: &[usize], rate: f64, i: usize, n: usize) -> Result<StepReport> {
        let start = Instant::now();
        let (epoch, step) = (self.position.epoch, self.position.step);
        let batch = self.data.collate(ids, self.engine.device())?;
        let outcome = self.engine.step(&batch, rate, self.config.seed.wrapping_add(step)).inspect_err(|e| {
            self.broken = Some(format!("step {step} failed: {}", e.message()));
        })?;
        let mut metrics: Vec<(&'static str, f64)> = METRICS.into_iter().zip(outcome.values).collect();
        if let Some((name, value)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(self.not_finite(name, *value));
        }
        for (sum, value) in self.sums.iter_mut().zip(outcome.values) {
            *sum += value;
        }
        if step % self.config.log_interval == 0 {
            let [disc, gen_, fm, mel, kl, ..] = outcome.values;
            self.log.step(epoch, 100.0 * i as f64 / n as f64, step, rate, Shown { disc, gen_, fm, mel, kl })?;
        }
        self.position.step += 1;
        self.position.step_in_epoch += 1;
        metrics.push(("learning_rate", rate));
        let seconds = start.elapsed().as_secs_f64();
        tracing::trace!("step {step}: {seconds:.4} s, {:?}", outcome.times);
        let windows = ids.len() as f64 * self.config.segment_seconds();
        metrics.extend(SPEEDS.into_iter().zip([1.0 / seconds, windows / seconds]));
        if step % self.config.log_interval == 0 {
            metrics.extend(outcome.parts()?);
        }
        Ok(StepReport {
            epoch,
            step,
            step_in_epoch: i as i64,
            steps_in_epoch: n as i64,
            metrics: Metrics(metrics),
            seconds,
            times: outcome.times,
        })
    }

    fn not_finite(&mut self, name: &str, value: f64) -> Error {
        let Position { epoch, step, .. } = self.position;
        let message = format!("{name} became {value} in epoch {epoch}, step {step}");
        self.broken = Some(message.clone());
        let kept = self.saved.map_or_else(String::new, |p| format!("the checkpoint of epoch {} is kept; ", p.name()));
        Error::new(Kind::NotFinite, message)
            .path(&self.logs)
            .hint(format!("{kept}resume with a lower learning_rate, and check for damaged recordings"))
    }

    /// The means of the running epoch after `done` of its steps; `ran` of them took `took`.
    fn means(&self, rate: f64, done: usize, ran: usize, took: Duration) -> Metrics {
        let mut means: Vec<_> =
            METRICS.into_iter().zip(self.sums).map(|(name, sum)| (name, sum / done as f64)).collect();
        means.push(("learning_rate", rate));
        let steps_per_second = ran as f64 / took.as_secs_f64().max(1e-9);
        let windows = self.config.batch_size as f64 * self.config.segment_seconds();
        means.extend(SPEEDS.into_iter().zip([steps_per_second, steps_per_second * windows]));
        Metrics(means)
    }

    fn end_epoch(&mut self, epoch: i64, rate: f64, n: usize, first: usize, start: Instant) -> Result<()> {
        let took = start.elapsed();
        let means = self.means(rate, n, n - first, took);
        self.losses = means.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.position.epoch = epoch + 1;
        self.position.step_in_epoch = 0;
        self.log.epoch(epoch, took)
    }

    /// Saves a checkpoint of the current state, unless the newest on disk already is one.
    ///
    /// Errors: `train.not_finite` after such an error; `file.write`, `file.disk_full`; older checkpoints stay whole.
    pub fn save(&mut self) -> Result<()> {
        self.usable()?;
        if self.saved == Some(self.position) {
            return Ok(());
        }
        let manifest = self.manifest()?;
        let epoch = manifest.epoch;
        for path in &checkpoint::paths(&self.logs, epoch)[..2] {
            self.log.line(&format!("Saving model and optimizer state at epoch {epoch} to {}", path.display()))?;
        }
        let start = Instant::now();
        checkpoint::write(&self.logs, &self.engine, &self.layout, manifest)?;
        tracing::debug!("checkpoint of epoch {epoch} written in {:.3} s", start.elapsed().as_secs_f64());
        self.saved = Some(self.position);
        Ok(())
    }

    /// The files of the newest checkpoint: G_, D_ and its manifest.
    pub fn checkpoint(&self) -> [PathBuf; 3] {
        checkpoint::paths(&self.logs, self.saved.unwrap_or(self.position).name())
    }

    /// The averaged generator beside it, if there is one.
    pub fn averaged(&self) -> Option<PathBuf> {
        let path = || checkpoint::average_path(&self.logs, self.saved.unwrap_or(self.position).name());
        self.engine.average.as_ref().map(|_| path())
    }

    /// The generator as it is now.
    pub fn generator(&self) -> &Synthesizer {
        &self.engine.generator
    }

    /// Removes our checkpoints except the newest and those of the epochs in `keep`; returns the epochs removed.
    ///
    /// Errors: `file.read`, `file.write`.
    pub fn prune(&mut self, keep: &[i64]) -> Result<Vec<i64>> {
        let newest = self.saved.map(Position::name);
        checkpoint::prune(&self.logs, |epoch| keep.contains(&epoch) || newest.is_none_or(|newest| epoch >= newest))
    }

    /// Sets the recipe that trains, for manifests and model cards.
    pub fn set_recipe(&mut self, name: &str) {
        self.recipe = Some(name.to_owned());
    }

    /// The manifest of the current state.
    fn manifest(&self) -> Result<Manifest> {
        let mut manifest = checkpoint::manifest(&self.config, self.data.digest(), self.position, self.engine.device())?;
        if self.position.step_in_epoch > 0 {
            manifest.sums = METRICS.into_iter().map(str::to_owned).zip(self.sums).collect();
        }
        manifest.losses = self.losses.clone();
        manifest.base = self.base.clone();
        manifest.lineage = self.lineage();
        manifest.content_digest = self.data.content_digest().map(str::to_owned);
        manifest.speakers = self.data.speakers().to_vec();
        manifest.recipe.clone_from(&self.recipe);
        // Speeds are not part of the state: equal trainings have equal files.
        for speed in SPEEDS {
            manifest.losses.remove(speed);
        }
        Ok(manifest)
    }

    /// Exports the voice as it is now (fp16, for RVC, Applio, w-okada).
    ///
    /// Errors: `train.not_finite`; `file.write`, `file.disk_full`.
    pub fn save_voice(&mut self, path: &Path) -> Result<()> {
        self.usable()?;
        export::write(path, self.engine.generator.params(), &self.manifest()?, &self.logs)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.log.line(&format!("saving ckpt {stem}_e{}:Success.", self.position.name()))
    }

    fn usable(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(Error::new(Kind::NotFinite, format!("this training cannot continue: {why}"))
                .hint("open the training again; it resumes after the newest checkpoint")),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The text after the remaining time on the live line of a training.
fn note(epoch: i64, epochs: i64, metrics: &Metrics) -> String {
    let show = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
    format!(
        "epoch {epoch}/{epochs}, mel {:.2} kl {:.2} gen {:.2} disc {:.2}, {:.2} steps/s",
        show("loss_mel"),
        show("loss_kl"),
        show("loss_gen"),
        show("loss_disc"),
        show("steps_per_second")
    )
}
