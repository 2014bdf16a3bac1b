//! What needs no module name in scripts: `args`.

use super::{At, Fallible, session};
use crate::{Error, Kind};
use rhai::plugin::*;
use rhai::{Array, Dynamic, Map, NativeCallContext};

#[export_module]
pub mod api {
    /// Returns the values of the recipe's parameters, as given on the command line or by default.
    ///
    /// * `params`: the constant PARAMS at the top of the recipe, an array of maps with `name` and, where wanted, `value`
    ///   (the default), `help`, `min`, `max`, `one_of`, `positional`.
    /// * Fails with `script` outside a recipe that was started with parameters.
    ///
    /// # Example
    /// ```rhai
    /// const PARAMS = [#{ name: "epochs", value: 300, min: 1, help: "passes over the data" }];
    /// let p = args(PARAMS);
    /// p.epochs == 300
    /// ```
    // Not named args in Rust: the macro has a variable of that name.
    #[rhai_fn(name = "args", return_raw, volatile)]
    pub fn arguments(ctx: NativeCallContext, params: Array) -> Fallible<Map> {
        let known = session(&ctx).arguments().filter(|values| {
            values.len() == params.len()
                && params.iter().all(|p| {
                    p.read_lock::<Map>().is_some_and(|p| {
                        p.get("name").is_some_and(|name| values.contains_key(name.to_string().as_str()))
                    })
                })
        });
        known
            .ok_or_else(|| {
                Error::new(Kind::Script, "args takes the constant PARAMS of the recipe that was started")
                    .hint("write `const PARAMS = [...];` and `let p = args(PARAMS);` at the top of the recipe")
            })
            .at(&ctx)
    }

    // Rhai's own `exit` would drop the code; a recipe that means "failed" must not end as "done".
    #[rhai_fn(name = "exit", return_raw, volatile)]
    pub fn exit_without_code(ctx: NativeCallContext) -> Fallible<()> {
        super::no_exit(&ctx)
    }

    #[rhai_fn(name = "exit", return_raw, volatile)]
    pub fn exit_with_any(ctx: NativeCallContext, _code: Dynamic) -> Fallible<()> {
        super::no_exit(&ctx)
    }
}

fn no_exit(ctx: &NativeCallContext) -> Fallible<()> {
    Err(Error::new(Kind::Script, "exit is not the way out of a recipe").hint("use system::exit_with(code)")).at(ctx)
}
