//! Formats lengths of time in the same way on the console, in pages and in tables.

/// "0.42 s", "8.2 s", "12 min 30 s", "3 h 5 min", "2 d 3 h".
pub fn words(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return format!("{seconds} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds == 0.0 => "0 s".to_owned(),
        _ if seconds < 0.995 => format!("{seconds:.2} s"),
        // What would print as "60.0 s" is a minute.
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ if whole < 86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn lengths_of_time_read_as_people_say_them() {
        let shown = [0.0, 0.004, 0.42, 0.999, 8.24, 59.94, 59.96, 750.0, 11100.0, 183_600.0].map(words);
        let right =
            ["0 s", "0.00 s", "0.42 s", "1.0 s", "8.2 s", "59.9 s", "1 min 0 s", "12 min 30 s", "3 h 5 min", "2 d 3 h"];
        assert_eq!(shown, right);
    }

    #[test]
    fn what_is_no_length_of_time_is_written_as_it_is() {
        for (seconds, written) in [(f64::NAN, "NaN s"), (f64::INFINITY, "inf s"), (-1.5, "-1.5 s")] {
            assert_eq!(words(seconds), written);
        }
        assert!(words(1e308).ends_with(" h"));
    }
}
