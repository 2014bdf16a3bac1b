//! Checks jobs before anything starts, and gives each its file names and the digest of what decides its outcome.

use super::record::Files;
use super::{Job, Options};
use crate::error::nearest;
use crate::files;
use crate::{Error, Kind, Result};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Most characters of a name that a file is called by.
const MOST_CHARACTERS: usize = 60;

/// A job that was checked.
pub(super) struct Planned<'a> {
    pub job: &'a Job,
    pub files: Files,
    /// SHA-256 of the recipe's text, the arguments, the variables and the key.
    pub digest: String,
    /// Places of the jobs that come first.
    pub after: Vec<usize>,
}

impl Planned<'_> {
    /// The name as one line of plain characters.
    pub fn shown(&self) -> String {
        shown(&self.job.name)
    }
}

/// A name without what would break a line or steer a terminal.
fn shown(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

pub(super) fn plan<'a>(jobs: &'a [Job], options: &Options) -> Result<Vec<Planned<'a>>> {
    if options.folder.as_os_str().is_empty() {
        return Err(Error::new(Kind::Internal, "jobs need a folder for their logs and states"));
    }
    // Durations are made from these: a year is far from what overflows, and longer than any wish.
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
    let mut places = HashMap::new();
    let mut ids = HashSet::new();
    for (place, job) in jobs.iter().enumerate() {
        check(job)?;
        if places.insert(job.name.as_str(), place).is_some() || !ids.insert(id(&job.name)) {
            return Err(wrong(format!("two jobs are called {:?}; each needs a name of its own", job.name)));
        }
    }
    let mut plan = Vec::with_capacity(jobs.len());
    for job in jobs {
        let after =
            job.after.iter().map(|name| places.get(name.as_str()).copied().ok_or_else(|| unknown(job, name, jobs)));
        let text = files::digest(files::read(&job.recipe).map_err(|e| e.context(format!("job {:?}", job.name)))?);
        plan.push(Planned {
            job,
            files: Files::new(&options.folder, &id(&job.name)),
            digest: files::digest(json!([text, job.args, job.env, job.key]).to_string()),
            after: after.collect::<Result<_>>()?,
        });
    }
    order(&plan)?;
    Ok(plan)
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
            .hint("letters, digits and underscores, no digit first")),
        None => Ok(()),
    }
}

fn unknown(job: &Job, name: &str, jobs: &[Job]) -> Error {
    let error = wrong(format!("job {:?} comes after {name:?}, which is not among the jobs", job.name));
    match nearest(name, jobs.iter().map(|job| job.name.as_str())) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error,
    }
}

fn wrong(message: String) -> Error {
    Error::new(Kind::ConfigValue, message)
}

/// The places of the jobs, those that are needed before those that need them.
///
/// Errors: `config.value` if jobs wait for each other.
pub(super) fn order(plan: &[Planned]) -> Result<Vec<usize>> {
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

/// The name of the job's files: its own where that is a plain file name, else one made from it with a digest. Never starts
/// with a dot or a dash.
pub(super) fn id(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let id: String = name.chars().map(plain).take(MOST_CHARACTERS).collect();
    let id = id.trim_start_matches(['.', '-']);
    if id == name { id.to_owned() } else { format!("job-{id}-{}", &files::digest(name)[..8]) }
}
