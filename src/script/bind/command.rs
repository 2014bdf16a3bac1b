//! Maps and arrays of a script as command lines: for jobs that are started, and for commands that are shown.

use super::value;
use crate::{Error, Kind, Result, shell};
use rhai::{Array, Dynamic, Map};
use serde_json::Value;

/// A recipe's arguments and flags.
#[derive(Default)]
struct Words {
    texts: Vec<String>,
    /// With their values, unless they are simply on.
    flags: Vec<(String, Option<String>)>,
}

impl Words {
    /// From a map of flags, or an array of strings and such maps. Errors: `config.value`.
    fn of(args: &Dynamic) -> Result<Self> {
        if let Some(flags) = args.read_lock::<Map>() {
            return Ok(Self { texts: Vec::new(), flags: flags_of(&flags)? });
        }
        let Some(items) = args.read_lock::<Array>() else {
            return Err(wrong(format!("args is {}, but must be a map or an array", value::shown(args))));
        };
        let mut words = Self::default();
        for item in items.iter() {
            match item.read_lock::<Map>() {
                Some(flags) => words.flags.extend(flags_of(&flags)?),
                None => words.texts.push(plain(item)?),
            }
        }
        Ok(words)
    }
}

/// The command line of a job: the flags of all maps, then the strings. So after "--" among the strings nothing can be a flag.
///
/// Errors: `config.value`.
pub fn arguments(args: &Dynamic) -> Result<Vec<String>> {
    let Words { texts, flags } = Words::of(args)?;
    let flag = |(flag, value): (String, Option<String>)| value.map_or(flag.clone(), |value| format!("{flag}={value}"));
    Ok(flags.into_iter().map(flag).chain(texts).collect())
}

/// A command for people to copy, in one line that a shell reads as intended: `program` with its flags, the recipe and its arguments. No string is
/// taken for a flag.
///
/// Errors: `config.value`.
pub fn shown(program: &[String], recipe: &str, args: &Dynamic) -> Result<String> {
    let Words { texts, flags } = Words::of(args)?;
    let flags = flags.into_iter().flat_map(|(flag, value)| match value {
        Some(value) if value.starts_with('-') => vec![format!("{flag}={value}")],
        Some(value) => vec![flag, value],
        None => vec![flag],
    });
    let mut words = program.to_vec();
    words.push(recipe.to_owned());
    if texts.iter().any(|text| text.starts_with('-')) {
        words.extend(flags.chain(["--".to_owned()]).chain(texts));
    } else {
        words.extend(texts.into_iter().chain(flags));
    }
    Ok(shell::line(words.iter().map(String::as_str)))
}

fn flags_of(map: &Map) -> Result<Vec<(String, Option<String>)>> {
    let mut flags = Vec::new();
    for (name, given) in map {
        let flag = format!("--{}", name.replace('_', "-"));
        match given.as_bool() {
            Ok(true) => flags.push((flag, None)),
            _ if given.is_unit() => {}
            // Strings are repeated; numbers belong to one value.
            _ if given.is_array() => {
                let items = given.read_lock::<Array>().map(|items| items.iter().map(plain).collect::<Result<Vec<_>>>());
                let items = items.unwrap_or_else(|| Ok(Vec::new())).map_err(|e| e.context(&flag))?;
                let numeric = given
                    .read_lock::<Array>()
                    .is_some_and(|items| items.iter().all(|item| value::number(item).is_some()));
                match items {
                    items if items.is_empty() => {}
                    items if numeric => flags.push((flag, Some(items.join(",")))),
                    items => flags.extend(items.into_iter().map(|item| (flag.clone(), Some(item)))),
                }
            }
            _ => {
                let value = plain(given).map_err(|e| e.context(&flag))?;
                flags.push((flag, Some(value)));
            }
        }
    }
    Ok(flags)
}

/// A string, number or choice in the command line's spelling; numbers are converted back exactly.
pub fn plain(given: &Dynamic) -> Result<String> {
    match value::to_json(given)? {
        Value::String(text) => Ok(text),
        Value::Bool(on) => Ok(on.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(wrong(format!("{} is not an argument: use a string, a number, true or false", value::shown(given)))),
    }
}

fn wrong(message: String) -> Error {
    Error::new(Kind::ConfigValue, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The argument that a script gives.
    fn args(script: &str) -> Dynamic {
        rhai::Engine::new().eval(script).unwrap()
    }

    #[test]
    fn the_flags_of_a_job_come_before_its_strings() {
        let line = |script: &str| arguments(&args(script)).unwrap().join(" ");
        assert_eq!(line(r"#{ epochs: 9, gpu: true, fresh: false, index: () }"), "--epochs=9 --fresh=false --gpu");
        assert_eq!(
            line(r#"["--", "-x", #{ batch_size: 4 }, #{ trial: "-x-t01" }]"#),
            "--batch-size=4 --trial=-x-t01 -- -x"
        );
        assert_eq!(line(r#"["anna", "--gpu"]"#), "anna --gpu", "unchanged");
        assert_eq!(
            line(r#"#{ betas: [0.8, 0.99], set: ["a=1", "b=2"], urls: [] }"#),
            "--betas=0.8,0.99 --set=a=1 --set=b=2"
        );
        for wrong in ["[[1]]", "7", "#{ x: [[1]] }"] {
            assert_eq!(arguments(&args(wrong)).unwrap_err().kind(), Kind::ConfigValue, "{wrong}");
        }
    }

    #[test]
    fn a_shown_command_is_right_for_any_name_of_a_voice() {
        let program = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let line = |script: &str| shown(&program(&["rvc-run"]), "resume", &args(script)).unwrap();
        assert_eq!(line(r#"["anna", #{ epochs: 9, gpu: true }]"#), "rvc-run resume anna --epochs 9 --gpu");
        assert_eq!(line(r#"["-x", #{ epochs: 9 }]"#), "rvc-run resume --epochs 9 -- -x");
        assert_eq!(line(r#"["a b", #{ sid: -1 }]"#), "rvc-run resume 'a b' --sid=-1");
        assert_eq!(line(r#"["it's $HOME; x"]"#), r"rvc-run resume 'it'\''s $HOME; x'");
        assert_eq!(line("[]"), "rvc-run resume");
        let there = program(&["rvc-run", "--workspace", "my place"]);
        assert_eq!(shown(&there, "ui", &args("[]")).unwrap(), "rvc-run --workspace 'my place' ui");
    }
}
