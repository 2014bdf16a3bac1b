//! An error as scripts see it: `e.kind`, `e.message`, `e.hint`, `e.path`, and where it first happened.

use super::session::session;
use crate::{Error, Kind};
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext, Position};
use serde_json::{Value, json};

/// The result of a native function.
pub type Fallible<T> = std::result::Result<T, Box<EvalAltResult>>;

/// The error value that `catch (e)` receives from a native function.
///
/// It remembers its place, because `throw e` would replace it with the place of the `throw`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The dotted code, such as `audio.decode`.
    pub kind: String,
    pub message: String,
    /// Empty if there is no hint.
    pub hint: String,
    /// Empty if there is no path.
    pub path: String,
    /// The script file of the call.
    pub source: Option<String>,
    pub position: Position,
}

impl Fault {
    /// A fault without a place; [`At::at`] and the interpreter fill it in.
    pub fn new(kind: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            hint: hint.into(),
            path: String::new(),
            source: None,
            position: Position::NONE,
        }
    }

    /// An object with `code`, `message` and `hint`, for records.
    pub fn to_json(&self) -> Value {
        json!({ "code": self.kind, "message": self.message, "hint": self.hint })
    }

    /// Any value that `catch` can receive, as a fault: our own, Rhai's error map, or a thrown string.
    pub fn of(value: &Dynamic) -> Self {
        if let Some(fault) = value.read_lock::<Fault>() {
            return fault.clone();
        }
        if let Some(map) = value.read_lock::<Map>() {
            let text = |key: &str| map.get(key).map(ToString::to_string).unwrap_or_default();
            let kind = if map.contains_key("kind") { text("kind") } else { Kind::Script.code().to_owned() };
            return Self { path: text("path"), ..Self::new(kind, text("message"), text("hint")) };
        }
        Self::new(Kind::Script.code(), value.to_string(), "")
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self {
            path: error.file().map(|p| p.display().to_string()).unwrap_or_default(),
            ..Self::new(error.kind().code(), error.message(), error.hint_text().unwrap_or_default())
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Adds the place of the script's call to an error of the engine below.
pub trait At<T> {
    fn at(self, ctx: &NativeCallContext) -> Fallible<T>;
}

impl<T> At<T> for crate::Result<T> {
    fn at(self, ctx: &NativeCallContext) -> Fallible<T> {
        self.map_err(|error| {
            // A script must not be able to swallow a cancellation, so it is not an ordinary error.
            if error.kind() == Kind::Cancelled {
                return EvalAltResult::ErrorTerminated(Dynamic::UNIT, ctx.call_position()).into();
            }
            let mut fault = Fault::from(error);
            fault.source = ctx.call_source().map(str::to_owned);
            fault.position = ctx.call_position();
            session(ctx).note_error(fault.to_json());
            EvalAltResult::ErrorRuntime(Dynamic::from(fault), ctx.call_position()).into()
        })
    }
}

/// Registers the error type and its properties; a thrown string has the same properties.
pub fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Fault>("Error")
        .register_get("kind", |e: &mut Fault| e.kind.clone())
        .register_get("message", |e: &mut Fault| e.message.clone())
        .register_get("hint", |e: &mut Fault| e.hint.clone())
        .register_get("path", |e: &mut Fault| e.path.clone())
        .register_fn("to_string", |e: &mut Fault| e.message.clone())
        .register_fn("to_debug", |e: &mut Fault| format!("Error({}: {})", e.kind, e.message))
        .register_get("kind", |_: &mut ImmutableString| Kind::Script.code())
        .register_get("message", |text: &mut ImmutableString| text.clone())
        .register_get("hint", |_: &mut ImmutableString| "")
        .register_get("path", |_: &mut ImmutableString| "");
}
