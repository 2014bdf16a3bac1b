//! Script interface of [`crate::download`]: recordings from links.

use super::{At, Fallible, session, value};
use crate::download as engine;
use crate::error::nearest;
use crate::{Error, Kind, Result};
use rhai::plugin::*;
use rhai::{Array, Dynamic, Map, NativeCallContext};

#[export_module]
pub mod api {
    /// Fetches recordings from links into data/<voice>, several at a time, and returns the result of each: maps with
    /// `url`, `status` (done, cached, failed), `path`, `seconds`, `title` and `reason`.
    ///
    /// It uses yt-dlp, which must be installed (`rvc-run doctor` explains how). Finished downloads are not fetched again; interrupted ones
    /// continue. A link that fails is a row with the reason, and the others continue.
    ///
    /// * `links`: http and https only. `options`: `duration`, the most seconds of each recording (600); `timeout`, the seconds after
    ///   which a link has failed (3600).
    /// * Fails with `file.not_found` without yt-dlp, `config.*`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let rows = prepare::download("anna", ["--exec=rm", "ftp://host/song.wav"], #{ duration: 60 });
    /// rows.len() == 2 && rows[0].status == "failed" && rows[1].reason == "refused: it is not an http or https link"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn download(ctx: NativeCallContext, voice: &str, links: Array, options: Map) -> Fallible<Array> {
        let session = session(&ctx);
        let fetch = || {
            let (links, limits) = (super::texts(&links)?, super::limits(&options)?);
            engine::download(session.task(), session.workspace(), voice, &links, &limits, None)
        };
        fetch().and_then(|rows| rows.iter().map(super::row).collect()).at(&ctx)
    }

    /// Returns the links in a text file, one per line; empty lines, and everything after a `#`, are ignored.
    ///
    /// * `file`: relative paths start at the workspace. Fails with `file.not_found`, `file.read`, `data.damaged`, `data.empty`.
    ///
    /// # Example
    /// ```rhai
    /// let found = "";
    /// try { prepare::read_links("no such list.txt"); } catch (e) { found = e.kind; }
    /// found == "file.not_found"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn read_links(ctx: NativeCallContext, file: &str) -> Fallible<Array> {
        let links = engine::read_links(&session(&ctx).workspace().path(file));
        links.map(|links| links.into_iter().map(Dynamic::from).collect()).at(&ctx)
    }
}

fn texts(links: &Array) -> Result<Vec<String>> {
    let text = |link: &Dynamic| {
        link.clone().into_string().map_err(|kind| {
            Error::new(
                Kind::ConfigValue,
                format!("a link is {}, but must be a string: \"https://...\"", value::kind_of(kind)),
            )
        })
    };
    links.iter().map(text).collect()
}

/// Whether the options of `prepare::download` are valid, before anything is fetched.
pub fn check_options(options: &serde_json::Map<String, serde_json::Value>) -> Result<()> {
    limits(&value::map_from_json(options)).map(drop)
}

fn limits(options: &Map) -> Result<engine::Limits> {
    const NAMES: [&str; 2] = ["duration", "timeout"];
    let mut limits = engine::Limits::default();
    for (name, value) in options {
        let slot = match name.as_str() {
            "duration" => &mut limits.duration_seconds,
            "timeout" => &mut limits.timeout_seconds,
            other => {
                let error = Error::new(Kind::ConfigUnknownKey, format!("a download has no option {other:?}"));
                return Err(match nearest(other, NAMES) {
                    Some(name) => error.hint(format!("did you mean {name:?}?")),
                    None => error.hint(format!("the options are {}", NAMES.join(" and "))),
                });
            }
        };
        let number = value.as_float().or_else(|_| value.as_int().map(|whole| whole as f64));
        *slot = number.map_err(|kind| {
            let kind = value::kind_of(kind);
            Error::new(Kind::ConfigValue, format!("{name} of a download is {kind}, but must be a number of seconds"))
        })?;
    }
    Ok(limits)
}

fn row(fetched: &engine::Fetched) -> Result<Dynamic> {
    serde_json::to_value(fetched)
        .map(|json| value::from_json(&json))
        .map_err(|e| Error::new(Kind::Internal, format!("the result of a link: {e}")).source(e))
}
