//! Script interface of [`crate::assets`]: which pretrained files settings need, whether they are present, and how to fetch them.

use super::{At, Fallible, session, value};
use crate::assets::{self, fetch::Options};
use crate::{Error, Kind, Result};
use rhai::plugin::*;
use rhai::{Array, Map, NativeCallContext};

#[export_module]
pub mod api {
    /// Returns the names of the pretrained files that these settings need; empty for built-in methods.
    ///
    /// * `settings`: as for `config::check`.
    /// * Fails with `config.unknown_key` or `config.value`.
    ///
    /// # Example
    /// ```rhai
    /// assets::needed(#{ f0_method: "rmvpe", pretrained_g: "default" }) == ["rmvpe.pt", "pretrained_v2/f0G40k.pth"]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn needed(ctx: NativeCallContext, settings: Map) -> Fallible<Array> {
        value::config(&settings).map(|config| assets::needed(&config).into_iter().map(Dynamic::from).collect()).at(&ctx)
    }

    /// Returns the names of the pretrained files that these settings need and that are missing on this machine.
    ///
    /// * `settings`: as for `config::check`.
    /// * Fails with `config.unknown_key` or `config.value`.
    ///
    /// # Example
    /// ```rhai
    /// assets::missing(#{ f0_method: "pm", content_encoder: "mel" }).is_empty()     // both are built in
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn missing(ctx: NativeCallContext, settings: Map) -> Fallible<Array> {
        let session = session(&ctx);
        let names = value::config(&settings).and_then(|config| {
            let missing = session.models().store().missing(&config)?;
            Ok(missing.into_iter().map(|asset| Dynamic::from(asset.name.clone())).collect())
        });
        names.at(&ctx)
    }

    /// Fails with one error that names every missing file and the command that fetches them, or does nothing.
    ///
    /// * `settings`: as for `config::check`.
    /// * Fails with `asset.missing`; `file.not_found` if only files that settings give by path are missing; `config.unknown_key` or `config.value`.
    ///
    /// # Example
    /// ```rhai
    /// assets::require(#{ f0_method: "harvest" });       // built in: nothing can be missing
    /// assets::needed(#{ f0_method: "harvest" }) == []
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn require(ctx: NativeCallContext, settings: Map) -> Fallible<()> {
        super::require(&ctx, std::slice::from_ref(&settings)).at(&ctx)
    }

    /// Fails as above, with one error for runs with different settings.
    ///
    /// * `settings`: an array of maps, as for `config::check`.
    ///
    /// # Example
    /// ```rhai
    /// let message = "";
    /// try { assets::require([#{ f0_method: "rmvpe" }, #{ content_encoder: "hubert_base" }]); } catch (e) { message = e.message; }
    /// message.contains("rmvpe.pt") && message.contains("hubert_base.pt")
    /// ```
    #[rhai_fn(name = "require", return_raw, volatile)]
    pub fn require_all(ctx: NativeCallContext, settings: Array) -> Fallible<()> {
        let map = |one: Dynamic| {
            one.try_cast_result::<Map>().map_err(|other| {
                let message = format!("settings is an array with {}, but must hold only maps", value::shown(&other));
                Error::new(Kind::ConfigValue, message)
            })
        };
        let maps: Result<Vec<Map>> = settings.into_iter().map(map).collect();
        maps.and_then(|maps| super::require(&ctx, &maps)).at(&ctx)
    }

    /// Downloads the pretrained files that these settings need and that are missing on this machine; returns their names.
    ///
    /// Each is verified by its SHA-256 before it gets its name; a broken download continues where it stopped. The environment
    /// can name mirrors (RVC_RUN_MIRROR) and forbid the network (RVC_RUN_OFFLINE=1), as for `rvc-run assets fetch`.
    ///
    /// * `settings`: as for `config::check`.
    /// * Fails with `network`, `asset.missing` for files that cannot be fetched, `asset.damaged`, `file.disk_full`, `file.write`,
    ///   `usage` for an invalid mirror or proxy address in the environment.
    ///
    /// # Example
    /// ```rhai
    /// assets::fetch(#{ f0_method: "harvest" }).is_empty()      // built in: there is nothing to fetch
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn fetch(ctx: NativeCallContext, settings: Map) -> Fallible<Array> {
        let session = session(&ctx);
        let fetched = value::config(&settings).and_then(|config| {
            let store = session.models().store();
            let names: Vec<String> = store.missing(&config)?.into_iter().map(|asset| asset.name.clone()).collect();
            let options = Options::with_environment(|name| std::env::var(name).ok());
            assets::fetch::fetch(store, &names, &options, session.task())?;
            Ok(names.into_iter().map(Dynamic::from).collect())
        });
        fetched.at(&ctx)
    }

    /// Returns the path of a pretrained file or folder: in assets/, in the folders of RVC_RUN_ASSETS or in the user's cache.
    ///
    /// * `name`: a name from `rvc-run assets list`.
    /// * Fails with `asset.missing` and the command that fetches the file, or `config.value` for an unknown name.
    ///
    /// # Example
    /// ```rhai
    /// let hint = "";
    /// try { assets::locate("rmvpe.pth") } catch (e) { hint = e.hint }
    /// hint == "did you mean \"rmvpe.pt\"?"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn locate(ctx: NativeCallContext, name: &str) -> Fallible<String> {
        session(&ctx).models().store().locate(name).map(|path| path.display().to_string()).at(&ctx)
    }
}

fn require(ctx: &NativeCallContext, settings: &[Map]) -> Result<()> {
    let configs = settings.iter().map(value::config).collect::<Result<Vec<_>>>()?;
    session(ctx).models().store().require_for_training(&configs)
}
