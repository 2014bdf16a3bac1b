//! `rvc-run track sync`: sends the runs that did not reach MLflow.

use super::follow::{Follower, Target, Thread};
use super::mlflow::{self, EXPERIMENT, Place};
use super::tensorboard::TensorBoard;
use super::{folder, name_of};
use crate::files::{self, Workspace};
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The folder of the cursors of a run's followers: tracking/follow/<run>/<target>.
pub(super) fn cursors(workspace: &Workspace, id: &str) -> PathBuf {
    workspace.tracking().join("follow").join(id)
}

/// Stored beside the cursor of a target: the address and the experiment.
const DESTINATION: &str = "destination.json";

/// Starts to follow a run that is being written.
pub(super) fn start(
    task: &Task,
    workspace: &Workspace,
    id: &str,
    name: &str,
    log: &Path,
    place: &Place,
    experiment: &str,
) -> Option<Thread> {
    let opened = || {
        let destination = Destination::of(workspace, id, place, experiment);
        destination.remember()?;
        Ok((place.target(workspace, id, name, &destination.experiment)?, destination.folder))
    };
    match opened() {
        Ok((target, folder)) => Thread::start(task, log, &folder, Box::new(target)),
        Err::<_, Error>(error) => {
            task.warn(format!("MLflow gets no data from this run: {error}"));
            None
        }
    }
}

/// TensorBoard's files as a target, and the folder of its cursor.
pub(super) fn tensorboard(workspace: &Workspace, id: &str) -> (PathBuf, TensorBoard) {
    (cursors(workspace, id).join("tensorboard"), TensorBoard::new(workspace, id))
}

/// A destination of a run: the folder of its cursor, and the experiment there. A run stays in its first experiment.
struct Destination {
    folder: PathBuf,
    experiment: String,
    uri: String,
}

impl Destination {
    fn of(workspace: &Workspace, id: &str, place: &Place, experiment: &str) -> Self {
        let folder = cursors(workspace, id).join(place.slug(workspace));
        let known = known_destination(&folder.join(DESTINATION)).map(|(_, experiment)| experiment);
        let named = if experiment.is_empty() { EXPERIMENT } else { experiment };
        Self { folder, experiment: known.unwrap_or_else(|| named.to_owned()), uri: place.address() }
    }

    /// Adds the destination to those that later syncs of the run use.
    fn remember(&self) -> Result<()> {
        let path = self.folder.join(DESTINATION);
        if known_destination(&path).is_some() {
            return Ok(());
        }
        let known = serde_json::json!({ "tracking_uri": self.uri, "experiment": self.experiment });
        files::write(&path, known.to_string())
    }
}

fn known_destination(path: &Path) -> Option<(String, String)> {
    let value: Value = serde_json::from_slice(&files::read(path).ok()?).ok()?;
    Some((value["tracking_uri"].as_str()?.to_owned(), value["experiment"].as_str()?.to_owned()))
}

/// The outcome of a run at one of its destinations.
#[derive(Debug)]
pub struct Synced {
    pub run: String,
    pub to: String,
    /// The number of points checked, including those that were there already.
    pub points: usize,
    /// None if everything has arrived.
    pub error: Option<Error>,
}

/// Delivers the rest of every run in tracking/events, or only of `runs`, to `place`, or if None to each run's own destinations.
///
/// A run that another process is writing is left to it. `parse` makes a place from an address, with the login from the
/// environment.
/// Errors: `file.not_found` for a name that is not a run; `cancelled`.
pub fn sync(
    task: &Task,
    workspace: &Workspace,
    runs: &[String],
    place: Option<&Place>,
    experiment: &str,
    parse: &dyn Fn(&str) -> Result<Option<Place>>,
) -> Result<Vec<Synced>> {
    let mut done = Vec::new();
    let mut looked_at = Vec::new();
    for id in chosen(workspace, runs)? {
        let places = match place {
            Some(place) => vec![place.clone()],
            None => known_places(workspace, &id, parse)?,
        };
        let mut tell = |to: String, outcome: Result<usize>| {
            let (points, error) = outcome.map_or_else(|error| (0, Some(error)), |points| (points, None));
            done.push(Synced { run: id.clone(), to, points, error });
        };
        // The lines that a killed run did not write for TensorBoard.
        let (folder, target) = tensorboard(workspace, &id);
        if place.is_none() && folder.is_dir() {
            tell(target.name(), follow(workspace, &id, &folder, Box::new(target)));
        }
        for place in places {
            task.check()?;
            if let Place::Folder(folder) = &place
                && !looked_at.contains(folder)
            {
                renew_paths(task, folder)?;
                looked_at.push(folder.clone());
            }
            tell(place.address(), sync_run(workspace, &id, &place, experiment));
        }
    }
    Ok(done)
}

/// Corrects the paths of artefacts in an MLflow folder and reports it. Errors: as [`mlflow::renew_paths`].
pub fn renew_paths(task: &Task, folder: &Path) -> Result<()> {
    let renewed = mlflow::renew_paths(folder)?;
    if renewed > 0 {
        task.info(format!(
            "{} was moved: the artefact paths of {renewed} {} in it were corrected",
            folder.display(),
            if renewed == 1 { "run or experiment" } else { "runs and experiments" }
        ));
    }
    Ok(())
}

fn chosen(workspace: &Workspace, named: &[String]) -> Result<Vec<String>> {
    let all = super::runs(workspace)?;
    if let Some(unknown) = named.iter().find(|run| !all.contains(run)) {
        return Err(Error::new(Kind::NotFound, format!("there is no run {unknown:?}"))
            .path(folder(workspace))
            .hint("`rvc-run track list` shows the runs"));
    }
    Ok(if named.is_empty() { all } else { named.to_vec() })
}

fn known_places(workspace: &Workspace, id: &str, parse: &dyn Fn(&str) -> Result<Option<Place>>) -> Result<Vec<Place>> {
    let own = Place::Folder(workspace.tracking().join("mlruns"));
    let place = |(folder, uri): (PathBuf, String)| {
        // The workspace's own folder stays the same destination after the workspace was moved.
        let is_own = folder.file_name().is_some_and(|name| *name == *own.slug(workspace));
        if is_own { Some(Ok(own.clone())) } else { parse(&uri).transpose() }
    };
    known_addresses(workspace, id)?.into_iter().filter_map(place).collect()
}

/// The cursor folder and the address of each destination of a run.
fn known_addresses(workspace: &Workspace, id: &str) -> Result<Vec<(PathBuf, String)>> {
    let folder = cursors(workspace, id);
    let folders = if folder.is_dir() { files::list(&folder)? } else { Vec::new() };
    let known = folders.into_iter().filter_map(|folder| {
        let (uri, _) = known_destination(&folder.join(DESTINATION))?;
        Some((folder, uri))
    });
    Ok(known.collect())
}

/// The destinations of a run: addresses of servers and paths of folders. Errors: `file.read`.
pub fn addresses(workspace: &Workspace, id: &str) -> Result<Vec<String>> {
    Ok(known_addresses(workspace, id)?.into_iter().map(|(_, uri)| uri).collect())
}

fn sync_run(workspace: &Workspace, id: &str, place: &Place, experiment: &str) -> Result<usize> {
    let destination = Destination::of(workspace, id, place, experiment);
    let target = place.target(workspace, id, name_of(id).unwrap_or(id), &destination.experiment)?;
    let points = follow(workspace, id, &destination.folder, Box::new(target))?;
    // An invalid address is not kept.
    destination.remember()?;
    Ok(points)
}

/// Delivers the rest of a run to a target; returns the number of points checked.
fn follow(workspace: &Workspace, id: &str, folder: &Path, target: Box<dyn Target>) -> Result<usize> {
    let mut follower = Follower::open(&super::log_path(workspace, id), folder, target)?;
    follower.catch_up().map_err(|trouble| trouble.error)?;
    let points = follower.delivered();
    follower.close()?;
    Ok(points)
}
