//! The check at the end of every decode: what a stream held compared with what its header promised, in both directions.
//!
//! All sound present is used, whatever a header promises. A file that lacks what an intact header promises was cut off, which is an
//! error; all other differences are notices.

use super::loaded::Notice;
use super::part::{Part, Promise};
use crate::shown::counted;

/// Smaller differences do not count: encoders round.
pub(super) const MISSING_SECONDS: f64 = 0.1;

/// What was decoded from a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    /// Before anything is trimmed.
    pub n_samples: u64,
    pub sample_rate: u32,
    /// Bytes of all packets.
    pub packet_bytes: u64,
    /// Whether the file ended inside a packet or box.
    pub is_early: bool,
    /// What the list of packets in the container counts.
    pub listed: Option<u64>,
}

/// A stream that was cut off: the seconds present, and the seconds promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    pub held: f64,
    pub promised: f64,
}

/// Notices about the length of a stream.
///
/// Errors: the loss, if it was cut off.
pub(super) fn check(part: &Part, decoded: &Decoded) -> Result<Vec<Notice>, Cut> {
    let rate = f64::from(decoded.sample_rate.max(1));
    let held = decoded.n_samples as f64 / rate;
    // Converts bytes to seconds; the best guess is that all bytes last equally long.
    let seconds = |bytes: u64| if part.sound_bytes > 0 { held * bytes as f64 / part.sound_bytes as f64 } else { 0.0 };
    let mut notices = Vec::new();
    let mut in_packets = held;
    if part.is_all_packets && decoded.packet_bytes > 0 && part.sound_bytes > decoded.packet_bytes {
        in_packets *= part.sound_bytes as f64 / decoded.packet_bytes as f64;
    }
    let outside = in_packets - held;
    let promised = match (part.promise, decoded.listed) {
        (Promise::Unwritten, _) => return Ok(vec![unwritten(held)]),
        (_, Some(samples)) | (Promise::Samples(samples), None) => Some(samples as f64 / rate),
        (Promise::Bytes(bytes), None) => Some(seconds(bytes)),
        (Promise::Nothing, None) => None,
    };
    let missing = promised.map_or(0.0, |promised| promised - held);
    if let Some(promised) = promised
        && missing > MISSING_SECONDS
    {
        // If all bytes should be in packets, bytes in no packet were lost; how the reader ended matters less.
        let is_torn = if part.is_all_packets { outside > 0.0 } else { decoded.is_early };
        if part.is_cut || is_torn {
            return Err(Cut { held, promised });
        }
        let message = format!("its header promises {promised:.2} s, but only {held:.2} s are present");
        notices.push(Notice { code: "length.less", message, seconds: missing });
    }
    if let Some(promised) = promised
        && missing < -MISSING_SECONDS
    {
        let message = format!("its header promises {promised:.2} s, but {held:.2} s are present; all of them are used");
        notices.push(Notice { code: "length.more", message, seconds: -missing });
    }
    if outside > 0.0 && missing * rate >= 1.0 && missing <= MISSING_SECONDS {
        // The last frame, followed by bytes that cannot be distinguished from it.
        let message = format!("its last {missing:.3} s cannot be read");
        notices.push(Notice { code: "length.less", message, seconds: missing });
    }
    if outside > MISSING_SECONDS {
        notices.push(unread(part.sound_bytes - decoded.packet_bytes, outside));
    }
    Ok(notices)
}

/// A header whose length was never filled in; `seconds` are present.
pub(super) fn unwritten(seconds: f64) -> Notice {
    let message =
        format!("its header has no length, as if the recorder was stopped; all {seconds:.2} s present are used");
    Notice { code: "length.unwritten", message, seconds }
}

/// A stream without its end; `seconds` are present.
pub(super) fn open(seconds: f64) -> Notice {
    let message = format!(
        "its end is missing, as if it was cut off or its recorder was stopped; all {seconds:.2} s present are used"
    );
    Notice { code: "length.open", message, seconds }
}

/// Bytes that are not used, for no known reason.
pub(super) fn unread(bytes: u64, seconds: f64) -> Notice {
    let message = format!("{} of it cannot be read as sound, about {seconds:.2} s", counted(bytes, "byte"));
    Notice { code: "length.unread", message, seconds }
}

/// Sound that the header does not count, which is used.
pub(super) fn uncounted(seconds: f64) -> Notice {
    let message = format!("its header does not count {seconds:.2} s that are present; they are used");
    Notice { code: "length.more", message, seconds }
}

/// What an edit list leaves out.
pub(super) fn edited(left_out: f64, whole: f64) -> Notice {
    let message = format!("its edit list leaves out {left_out:.2} of {whole:.2} s");
    Notice { code: "length.edited", message, seconds: left_out }
}

/// Recordings that were joined, `rates` in Hz.
pub(super) fn joined(count: usize, rates: &[u32], seconds: f64) -> Notice {
    let mut different: Vec<String> = Vec::new();
    for rate in rates.iter().map(u32::to_string) {
        if !different.contains(&rate) {
            different.push(rate);
        }
    }
    let at = match different.as_slice() {
        [first, _, ..] => format!(" (of {} Hz, all used at {first} Hz)", different.join(", ")),
        _ => String::new(),
    };
    let message = format!("it is {count} recordings joined into one file{at}; all {seconds:.2} s are used");
    Notice { code: "parts.joined", message, seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(promise: Promise) -> Part {
        Part { promise, ..Part::plain(0..8000) }
    }

    const DECODED: Decoded =
        Decoded { n_samples: 4000, sample_rate: 1000, packet_bytes: 8000, is_early: false, listed: None };

    fn codes(part: &Part, decoded: &Decoded) -> Result<Vec<(&'static str, f64)>, Cut> {
        Ok(check(part, decoded)?.into_iter().map(|notice| (notice.code, notice.seconds)).collect())
    }

    #[test]
    fn a_promise_that_is_kept_within_a_tenth_of_a_second_is_no_notice() {
        for promise in [Promise::Nothing, Promise::Bytes(8000), Promise::Bytes(8150), Promise::Samples(3910)] {
            assert_eq!(codes(&part(promise), &DECODED), Ok(vec![]), "{promise:?}");
        }
    }

    #[test]
    fn more_and_less_than_promised_are_notices_with_the_seconds() {
        assert_eq!(codes(&part(Promise::Bytes(2000)), &DECODED), Ok(vec![("length.more", 3.0)]));
        assert_eq!(codes(&part(Promise::Samples(5000)), &DECODED), Ok(vec![("length.less", 1.0)]));
        assert_eq!(codes(&part(Promise::Unwritten), &DECODED), Ok(vec![("length.unwritten", 4.0)]));
        let listed = Decoded { listed: Some(6000), ..DECODED };
        assert_eq!(codes(&part(Promise::Nothing), &listed), Ok(vec![("length.less", 2.0)]));
    }

    #[test]
    fn less_than_an_intact_header_promises_is_an_error() {
        let cut = Err(Cut { held: 4.0, promised: 8.0 });
        assert_eq!(codes(&Part { is_cut: true, ..part(Promise::Bytes(16000)) }, &DECODED), cut);
        assert_eq!(codes(&part(Promise::Nothing), &Decoded { is_early: true, listed: Some(8000), ..DECODED }), cut);
        let all_packets = Part { is_all_packets: true, ..part(Promise::Samples(8000)) };
        assert_eq!(codes(&all_packets, &Decoded { packet_bytes: 7999, ..DECODED }), cut);
        assert_eq!(codes(&all_packets, &DECODED), Ok(vec![("length.less", 4.0)]), "the header is wrong");
    }

    #[test]
    fn bytes_outside_packets_are_a_notice() {
        let all_packets = Part { is_all_packets: true, ..part(Promise::Nothing) };
        let half = Decoded { packet_bytes: 4000, ..DECODED };
        assert_eq!(codes(&all_packets, &half), Ok(vec![("length.unread", 4.0)]));
        let last = Decoded { packet_bytes: 7990, ..DECODED };
        let promised = Part { promise: Promise::Samples(4050), ..all_packets };
        assert_eq!(codes(&promised, &last), Ok(vec![("length.less", 4.05 - 4.0)]), "the last frame only");
    }

    #[test]
    fn joined_rates_are_named_once() {
        let notice = joined(3, &[44100, 22050, 44100], 9.0);
        assert_eq!(
            notice.message,
            "it is 3 recordings joined into one file (of 44100, 22050 Hz, all used at 44100 Hz); all 9.00 s are used"
        );
        assert!(!joined(2, &[8000, 8000], 9.0).message.contains("Hz"));
    }
}
