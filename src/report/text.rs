//! Formats numbers, durations, times and settings for a page.

use serde_json::Value;

/// Placeholder for a missing value.
pub const NONE: &str = "–";

/// About four digits: "31.24", "0.0001", "1.2e-5", "124000". NaN and infinities are written out.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "−∞" }.into();
    }
    let size = value.abs();
    if size >= 1e7 || (size < 1e-4 && size > 0.0) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    let digits = if size >= 1000.0 || size == 0.0 { 0 } else { (3 - size.log10().floor() as i32).clamp(0, 7) as usize };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// [`number`], or [`NONE`].
pub fn maybe(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), number)
}

/// Seconds as [`crate::duration`] writes them everywhere, or [`NONE`].
pub fn duration(seconds: f64) -> String {
    if seconds.is_finite() { crate::duration::words(seconds.max(0.0)) } else { NONE.into() }
}

/// Seconds for a column of a table: "12.3".
pub fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.1}"))
}

/// "2026-11-22 21:30:11 UTC".
pub fn time(unix_seconds: f64) -> String {
    let stamp = jiff::Timestamp::from_millisecond((unix_seconds * 1000.0) as i64);
    stamp.map_or_else(|_| NONE.to_owned(), |stamp| stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// "812 B", "3.4 KB", "20 MB".
pub fn bytes(count: usize) -> String {
    match count {
        0..1000 => format!("{count} B"),
        1000..1_000_000 => format!("{} KB", number((count as f64 / 1e2).round() / 10.0)),
        _ => format!("{} MB", number((count as f64 / 1e5).round() / 10.0)),
    }
}

/// A value of the log for people; texts stay unchanged.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => NONE.into(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        // Settings and counts stay unchanged, measurements get four digits.
        Value::Number(n) if n.is_f64() => {
            let short = n.to_string();
            if short.len() <= 8 { short } else { n.as_f64().map_or(short, number) }
        }
        other => other.to_string(),
    }
}

/// Nested settings as (dotted name, value), in order.
pub fn flat(settings: &Value) -> Vec<(String, String)> {
    fn walk(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    walk(&name, value, out);
                }
            }
            // Exact, unlike `value`: two runs may differ in the last digit.
            Value::Number(n) => out.push((name.to_owned(), n.to_string())),
            _ => out.push((name.to_owned(), self::value(value))),
        }
    }
    let mut out = Vec::new();
    if settings.as_object().is_some_and(|map| !map.is_empty()) {
        walk("", settings, &mut out);
    }
    out
}

/// The value of a setting at any depth; the one nearest to the top.
pub fn find<'a>(settings: &'a Value, name: &str) -> Option<&'a Value> {
    let map = settings.as_object()?;
    map.get(name).or_else(|| map.values().find_map(|inner| find(inner, name)))
}
