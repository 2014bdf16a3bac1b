//! Reads a user's JSON values into a struct: serde does the work, but errors are in our own words.
//!
//! serde's own messages use Rust's terms ("invalid type: string \"two\", expected usize at line 0"); ours name the key, the given value and
//! the allowed ones: "parallel is \"two\", but must be a whole number of at least 0".

use crate::error::nearest;
use crate::{Error, Kind, Result};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// `given` as a `T`; `of` is its owner ("model::open"), `one` the word for a key ("option", "setting").
///
/// Errors: `config.unknown_key` with the nearest name; `config.value` with the given and the allowed value.
pub fn read<T: DeserializeOwned>(given: &Map<String, Value>, of: &str, one: &str) -> Result<T> {
    T::deserialize(Node(given)).map_err(|misfit| misfit.error(of, one))
}

/// A value that does not fit, and where.
#[derive(Debug)]
struct Misfit {
    /// Keys and indices, the outermost first.
    path: Vec<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    Unknown {
        key: String,
        known: &'static [&'static str],
    },
    /// `given` is empty until the value is known.
    Value {
        given: String,
        wanted: String,
    },
    Missing(String),
    Other(String),
}

impl Misfit {
    fn new(what: What) -> Self {
        Self { path: Vec::new(), what }
    }

    /// The same, found within `place`, which has the value `given`.
    fn within(mut self, place: String, value: &Value) -> Self {
        self.path.insert(0, place);
        if let What::Value { given, .. } = &mut self.what
            && given.is_empty()
        {
            *given = short(value);
        }
        self
    }

    fn error(self, of: &str, one: &str) -> Error {
        let mut place = String::new();
        for part in &self.path {
            // An index in an array is in brackets.
            if !place.is_empty() && !part.starts_with('[') {
                place.push('.');
            }
            place += part;
        }
        let owner = if place.is_empty() { of.to_owned() } else { format!("{place} of {of}") };
        match self.what {
            What::Unknown { key, known } => {
                let one = one.split_once(' ').map_or(one, |(_, noun)| noun);
                let error = Error::new(Kind::ConfigUnknownKey, format!("{owner} has no {one} {key:?}"));
                error.hint(match nearest(&key, known.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("{one}s are: {}", known.join(", ")),
                })
            }
            What::Value { given, wanted } => {
                Error::new(Kind::ConfigValue, format!("{owner} is {given}, but must be {wanted}"))
            }
            What::Missing(key) => Error::new(Kind::ConfigValue, format!("{owner} lacks {key}")),
            What::Other(said) => Error::new(Kind::ConfigValue, format!("{owner}: {said}")),
        }
    }
}

/// A value in a message.
fn short(value: &Value) -> String {
    match value {
        Value::Null => "()".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "a map".into(),
        plain => plain.to_string(),
    }
}

/// serde's names of expected types, in plain words.
fn wanted(expected: &dyn Expected) -> String {
    let said = expected.to_string();
    let size = said.trim_start_matches(['u', 'i', 'f']);
    let sized = size == "size" || size.chars().all(|c| c.is_ascii_digit()) && !size.is_empty();
    match said.as_str() {
        _ if sized && said.starts_with('u') => "a whole number of at least 0".into(),
        _ if sized && said.starts_with('i') => "a whole number".into(),
        _ if sized && said.starts_with('f') => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "path string" | "a borrowed string" => "a string".into(),
        "a sequence" => "an array".into(),
        other if other.starts_with("struct ") || other == "a map" => "a map".into(),
        other if other.contains("tuple") || other.starts_with("an array") => {
            "an array of as many values as it has by default".into()
        }
        other if other.starts_with("string or map") || other.starts_with("variant") => {
            "one of its names, as a string".into()
        }
        other => other.to_owned(),
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Misfit {}

impl serde::de::Error for Misfit {
    fn custom<T: std::fmt::Display>(said: T) -> Self {
        Self::new(What::Other(said.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(What::Value { given: String::new(), wanted: wanted(expected) })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(What::Value { given: String::new(), wanted: wanted(expected) })
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(What::Value { given: String::new(), wanted: wanted(expected) })
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::Value { given: String::new(), wanted: format!("one of {}", known.join(", ")) })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::Unknown { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(What::Missing(key.to_owned()))
    }
}

/// A value, or the outermost object, that serde reads from.
struct Node<T>(T);

type Read<T> = std::result::Result<T, Misfit>;

impl<'de> Deserializer<'de> for Node<&Map<String, Value>> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_map(Entries { rest: self.0.iter(), value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for Node<&Value> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(n), ..) => visitor.visit_i64(n),
                (_, Some(n), _) => visitor.visit_u64(n),
                (.., n) => visitor.visit_f64(n.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items { rest: items.iter(), place: 0 }),
            Value::Object(map) => Node(map).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    // serde would accept an array for a struct, value by value.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        match self.0 {
            Value::Object(map) => Node(map).deserialize_any(visitor),
            _ => Err(serde::de::Error::invalid_type(Unexpected::Seq, &"a map")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Read<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        match self.0 {
            Value::String(text) => {
                let text: StrDeserializer<'_, Misfit> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            _ => Err(serde::de::Error::unknown_variant("", known)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct Entries<'a> {
    rest: serde_json::map::Iter<'a>,
    value: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Read<Option<K::Value>> {
        self.value = self.rest.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Misfit> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Read<V::Value> {
        let (key, value) = self.value.take().ok_or_else(|| Misfit::new(What::Other("a key without a value".into())))?;
        seed.deserialize(Node(value)).map_err(|misfit| misfit.within(key.clone(), value))
    }
}

struct Items<'a> {
    rest: std::slice::Iter<'a, Value>,
    place: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        let Some(value) = self.rest.next() else { return Ok(None) };
        let place = format!("[{}]", self.place);
        self.place += 1;
        seed.deserialize(Node(value)).map(Some).map_err(|misfit| misfit.within(place, value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Place {
        #[default]
        Here,
        There,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Options {
        parallel: usize,
        gpus: Vec<u32>,
        share: f64,
        fresh: bool,
        seed: i64,
        note: Option<String>,
        place: Place,
        betas: [f64; 2],
        more: Inner,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        time: String,
    }

    fn said(given: &Value) -> (String, Option<String>) {
        let error = read::<Options>(given.as_object().unwrap(), "a job", "an option").unwrap_err();
        (error.message().to_owned(), error.hint_text().map(str::to_owned))
    }

    #[test]
    fn valid_values_are_read_as_by_serde() {
        let given = json!({
            "parallel": 3, "gpus": [0, 1], "share": 1, "fresh": true, "seed": -1, "note": null, "place": "there", "betas": [0.8, 0.99],
            "more": { "time": "1:00" },
        });
        let by_serde: Options = serde_json::from_value(given.clone()).unwrap();
        assert_eq!(read::<Options>(given.as_object().unwrap(), "a job", "an option").unwrap(), by_serde);
    }

    #[test]
    fn misfits_are_described_without_rust_terms() {
        for (given, message) in [
            (json!({ "parallel": "two" }), "parallel of a job is \"two\", but must be a whole number of at least 0"),
            (json!({ "parallel": -1 }), "parallel of a job is -1, but must be a whole number of at least 0"),
            (json!({ "parallel": 1.5 }), "parallel of a job is 1.5, but must be a whole number of at least 0"),
            (json!({ "gpus": 3 }), "gpus of a job is 3, but must be an array"),
            (json!({ "gpus": [0, "x"] }), "gpus[1] of a job is \"x\", but must be a whole number of at least 0"),
            (json!({ "share": true }), "share of a job is true, but must be a number"),
            (json!({ "fresh": 1 }), "fresh of a job is 1, but must be true or false"),
            (json!({ "seed": 0.5 }), "seed of a job is 0.5, but must be a whole number"),
            (json!({ "note": 5 }), "note of a job is 5, but must be a string"),
            (json!({ "place": "nowhere" }), "place of a job is \"nowhere\", but must be one of here, there"),
            (json!({ "place": 5 }), "place of a job is 5, but must be one of here, there"),
            (json!({ "more": [] }), "more of a job is an array, but must be a map"),
            (json!({ "more": { "time": 5 } }), "more.time of a job is 5, but must be a string"),
            (
                json!({ "betas": [1.0] }),
                "betas of a job is an array, but must be an array of as many values as it has by default",
            ),
        ] {
            assert_eq!(said(&given).0, message);
        }
        assert_eq!(
            said(&json!({ "paralel": 1 })),
            ("a job has no option \"paralel\"".into(), Some("did you mean \"parallel\"?".into()))
        );
        let (message, hint) = said(&json!({ "more": { "zzz": 1 } }));
        assert_eq!(
            (message.as_str(), hint.as_deref()),
            ("more of a job has no option \"zzz\"", Some("options are: time"))
        );
    }
}
