//! Numbers and structures as Python prints them, for files that RVC's own programs read back.

use serde_json::Value;

/// A number as Python's `repr` prints it: the fewest digits that identify the number, with an exponent of at least two digits
/// below 1e-4 and from 1e16.
pub fn float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() { "nan".into() } else { format!("{x}") };
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A value as Python's `repr` prints it, on one line; objects keep their order.
pub fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(n) => number(n),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{}: {}", quoted(k), repr(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// A value as Python's `json.dump(indent=4, sort_keys=True)` writes it, with a line break at the end.
pub fn json(value: &Value) -> String {
    let mut text = String::new();
    json_into(&mut text, value, 0);
    text.push('\n');
    text
}

fn json_into(text: &mut String, value: &Value, depth: usize) {
    let indent = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"    ".repeat(depth));
    };
    match value {
        Value::Number(n) => text.push_str(&number(n)),
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                indent(text, depth + 1);
                json_into(text, item, depth + 1);
            }
            indent(text, depth);
            text.push(']');
        }
        Value::Object(map) if !map.is_empty() => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (i, (key, item)) in pairs.into_iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                indent(text, depth + 1);
                text.extend([Value::from(key.as_str()).to_string().as_str(), ": "]);
                json_into(text, item, depth + 1);
            }
            indent(text, depth);
            text.push('}');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn number(n: &serde_json::Number) -> String {
    if n.is_f64() { n.as_f64().map_or_else(|| n.to_string(), float) } else { n.to_string() }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.extend(format!("\\x{:02x}", c as u32).chars()),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_print_as_in_python() {
        let expected = ["0.0001", "1e-09", "9.99875e-05", "45.0", "1e+16", "123456789.125", "-0.0", "1.5e-07", "nan"];
        let given = [1e-4, 1e-9, 9.99875e-5, 45.0, 1e16, 123_456_789.125, -0.0, 1.5e-7, f64::NAN];
        assert_eq!(given.map(float), expected);
    }

    #[test]
    fn values_print_as_in_python() {
        let value = json!({ "b": [1, 0.5, null, true], "a": "it's \"x\"\t", "c": "it's" });
        assert_eq!(repr(&value), r#"{'b': [1, 0.5, None, True], 'a': 'it\'s "x"\t', 'c': "it's"}"#);
    }

    #[test]
    fn json_is_sorted_and_indented_by_four() {
        let value = json!({ "b": [[1], []], "a": { "z": null, "eps": 1e-9 } });
        let expected = "{\n    \"a\": {\n        \"eps\": 1e-09,\n        \"z\": null\n    },\n    \"b\": [\n        [\n            1\n        ],\n        []\n    ]\n}\n";
        assert_eq!(json(&value), expected);
    }
}
