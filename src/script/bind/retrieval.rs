//! Script interface of [`crate::retrieval`]: the index of a voice.

use super::{At, Fallible, session, value};
use crate::retrieval::{self, Built, Options};
use rhai::plugin::*;
use rhai::{ImmutableString, Map, NativeCallContext};

#[export_module]
pub mod api {
    /// Builds the retrieval index of a prepared voice in logs/<voice>, or finds it if nothing changed; returns its `path`, the
    /// number of vectors `n`, the number of `frames` that they represent, the number of cells `n_ivf`, `recall` (the share of the 8 nearest
    /// vectors that a search finds), `seconds`, and whether it was `cached`.
    ///
    /// * `cfg`: the settings; `version`, `seed` and `gpu` matter.
    /// * Fails with `file.not_found` or `data.empty` if the voice has no features, `data.damaged`, `config.*`, `device.*`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// prepare::content(prepare::slices("anna", "data/anna", #{}), #{});
    /// let index = retrieval::build("anna", #{});
    /// index.path.ends_with("added_IVF1_Flat_nprobe_1_anna_v2.index") && index.recall == 1.0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn build(ctx: NativeCallContext, voice: &str, cfg: Map) -> Fallible<Map> {
        super::run(&ctx, voice, &cfg, &Map::new()).map(|built| super::described(&built)).at(&ctx)
    }

    /// Builds the index with options:
    ///
    /// * `name`: "rvc" (added_IVF<cells>_Flat_nprobe_1_<voice>_<version>.index) or "applio" (<voice>.index).
    /// * `leave_out_silence`: whether silent frames are left out (false).
    /// * `max_frames`: above this number (200000), frames are reduced by k-means to `reduced_frames` (10000).
    /// * Fails like `build` without options, and with `config.unknown_key`.
    ///
    /// # Example
    /// ```rhai
    /// prepare::content(prepare::slices("anna", "data/anna", #{}), #{});
    /// retrieval::build("anna", #{}, #{ name: "applio" }).path.ends_with("anna.index")
    /// ```
    #[rhai_fn(name = "build", return_raw, volatile)]
    pub fn build_with(ctx: NativeCallContext, voice: &str, cfg: Map, options: Map) -> Fallible<Map> {
        super::run(&ctx, voice, &cfg, &options).map(|built| super::described(&built)).at(&ctx)
    }

    /// Gives the voice's index a second name in the same folder, by which RVC WebUI finds it for another model of the voice; returns its path, "" if `index`
    /// does not have RVC's name.
    ///
    /// * `model`: the model's name, which begins with the voice's name: "anna_best".
    /// * Fails with `config.value` for any other model, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// prepare::content(prepare::slices("anna", "data/anna", #{}), #{});
    /// let index = retrieval::build("anna", #{}).path;
    /// retrieval::pair(index, "anna", "anna_best").ends_with("added_IVF1_Flat_nprobe_1_anna_best_v2.index")
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn pair(ctx: NativeCallContext, index: &str, voice: &str, model: &str) -> Fallible<ImmutableString> {
        let index = session(&ctx).workspace().path(index);
        let paired = retrieval::pair(&index, voice, model).at(&ctx)?;
        Ok(paired.map_or_else(String::new, |path| path.display().to_string()).into())
    }
}

fn run(ctx: &NativeCallContext, voice: &str, cfg: &Map, options: &Map) -> crate::Result<Built> {
    let session = session(ctx);
    let (config, options) = (value::config(cfg)?, Options::from_json(&value::map_to_json(options)?)?);
    let logs = session.workspace().logs(voice)?;
    retrieval::build(session.task(), &session.cache()?, &logs, voice, &config, &options)
}

fn described(built: &Built) -> Map {
    [
        ("path".into(), built.path.display().to_string().into()),
        ("n".into(), (built.n as i64).into()),
        ("frames".into(), (built.frames as i64).into()),
        ("n_ivf".into(), (built.n_ivf as i64).into()),
        ("recall".into(), built.recall.into()),
        ("seconds".into(), built.seconds.into()),
        ("cached".into(), built.cached.into()),
    ]
    .into()
}
