//! Checks jobs before anything starts, and gives each its file names and the digest of everything that decides its outcome.

use super::record::Files;
use super::{Job, Options};
use crate::error::nearest;
use crate::files;
use crate::{Error, Kind, Result};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::Rc;

/// Most characters of a file name taken from a job's name.
const MOST_CHARACTERS: usize = 60;

/// A checked job.
pub(super) struct Planned {
    pub job: Job,
    pub files: Files,
    /// SHA-256 of the recipe's text, the arguments, the variables and the key.
    pub digest: String,
    /// Indices of the jobs that come first.
    pub after: Vec<usize>,
}

impl Planned {
    /// The name as one line of plain characters.
    pub fn shown(&self) -> String {
        shown(&self.job.name)
    }
}

/// A name without line breaks and control characters.
fn shown(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// All jobs of a call, in the order in which they were added.
#[derive(Default)]
pub(super) struct Plan {
    pub jobs: Vec<Rc<Planned>>,
    /// Indices by name.
    places: BTreeMap<String, usize>,
    ids: HashSet<String>,
}

impl Plan {
    pub fn new(jobs: &[Job], options: &Options) -> Result<Self> {
        check_options(options)?;
        let mut plan = Self::default();
        plan.add(jobs, &options.folder)?;
        Ok(plan)
    }

    /// Adds jobs, which may need those before them and each other.
    pub fn add(&mut self, jobs: &[Job], folder: &Path) -> Result<()> {
        let before = self.jobs.len();
        for (place, job) in jobs.iter().enumerate() {
            check(job)?;
            if self.places.contains_key(&job.name) || self.ids.contains(&id(&job.name)) {
                return Err(wrong(format!("two jobs are called {:?}; each needs its own name", job.name)));
            }
            self.places.insert(job.name.clone(), before + place);
            self.ids.insert(id(&job.name));
        }
        for job in jobs {
            let after =
                job.after.iter().map(|name| self.places.get(name).copied().ok_or_else(|| self.unknown(job, name)));
            let after = after.collect::<Result<_>>()?;
            let text = match &job.text {
                Some(text) => files::digest(text),
                None => files::digest(files::read(&job.recipe).map_err(|e| e.context(format!("job {:?}", job.name)))?),
            };
            self.jobs.push(Rc::new(Planned {
                job: job.clone(),
                files: Files::new(folder, &id(&job.name)),
                digest: files::digest(json!([text, job.args, job.env, job.key]).to_string()),
                after,
            }));
        }
        order(&self.jobs).map(drop)
    }

    fn unknown(&self, job: &Job, name: &str) -> Error {
        let error = wrong(format!("job {:?} comes after {name:?}, which is not among the jobs", job.name));
        match nearest(name, self.places.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean {near:?}?")),
            None => error,
        }
    }
}

fn check_options(options: &Options) -> Result<()> {
    if options.folder.as_os_str().is_empty() {
        return Err(Error::new(Kind::Internal, "jobs need a folder for their logs and states"));
    }
    // These become durations: a year is far from overflow and longer than anyone needs.
    let most = 366.0 * 86400.0;
    for (name, value) in [
        ("timeout_seconds", options.timeout_seconds),
        ("patience_seconds", options.patience_seconds),
        ("poll_seconds", options.slurm.poll_seconds),
    ] {
        if !(0.0..=most).contains(&value) {
            return Err(wrong(format!("{name} is {value}; allowed are 0 to {most} seconds")));
        }
    }
    Ok(())
}

fn check(job: &Job) -> Result<()> {
    if job.name.is_empty() {
        return Err(wrong("a job has an empty name".into()));
    }
    let recipe = job.recipe.to_string_lossy();
    if job.args.iter().chain(job.env.iter().map(|(_, value)| value)).any(|text| text.contains('\0'))
        || recipe.contains('\0')
    {
        return Err(wrong(format!("job {:?}: a zero byte cannot be part of a command line", job.name)));
    }
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match job.env.iter().find(|(name, _)| !plain(name)) {
        Some((name, _)) => Err(wrong(format!("job {:?}: {name:?} cannot be an environment variable", job.name))
            .hint("allowed are letters, digits and underscores, not a digit first")),
        None => Ok(()),
    }
}

fn wrong(message: String) -> Error {
    Error::new(Kind::ConfigValue, message)
}

/// The indices of the jobs, each after those that it needs.
///
/// Errors: `config.value` if jobs wait for each other.
pub(super) fn order(plan: &[Rc<Planned>]) -> Result<Vec<usize>> {
    let mut order = Vec::with_capacity(plan.len());
    let mut placed = vec![false; plan.len()];
    while order.len() < plan.len() {
        let before = order.len();
        for place in 0..plan.len() {
            if !placed[place] && plan[place].after.iter().all(|&first| placed[first]) {
                placed[place] = true;
                order.push(place);
            }
        }
        if order.len() == before {
            let stuck: Vec<String> = plan
                .iter()
                .zip(&placed)
                .filter(|(_, placed)| !**placed)
                .map(|(job, _)| format!("{:?}", job.job.name))
                .collect();
            return Err(wrong(format!("jobs wait for each other, so none of them can start: {}", stuck.join(", "))));
        }
    }
    Ok(order)
}

/// The name of the job's files: its own if that is a plain file name, else one derived from it with a digest. Never starts
/// with a dot or a dash.
pub(super) fn id(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let id: String = name.chars().map(plain).take(MOST_CHARACTERS).collect();
    let id = id.trim_start_matches(['.', '-']);
    if id == name { id.to_owned() } else { format!("job-{id}-{}", &files::digest(name)[..8]) }
}
