//! Which clips are held out of the training for validation.
//!
//! ```text
//! recordings   0: [0_0 0_1 0_2]   1: [1_0 1_1]   2: [2_0 2_1 2_2 2_3]      clips of one overlap by 0.3 s
//! held out                        1: [1_0 1_1]                             whole recordings: none of their clips is trained on
//! only one     0: [0_0 0_1 0_2 ... 0_7] (0_8) [0_9]                        its end, and a gap of one clip
//! ```

use crate::files;
use std::collections::{BTreeMap, BTreeSet};

/// Indices in the list of clips.
#[derive(Debug, PartialEq)]
pub struct Places {
    pub held: BTreeSet<usize>,
    /// In neither set: they overlap both.
    pub left_out: BTreeSet<usize>,
}

/// The indices to hold out: recordings in the order of a digest of `seed` and their names, until `fraction` of all frames is reached.
/// None if nothing would be left to train on, or nothing to hold out.
///
/// `names`: for each clip its recording and place in it; None is never held out. `frames`: length of each clip.
pub fn choose(names: &[Option<(String, i64)>], frames: &[usize], fraction: f64, seed: i64) -> Option<Places> {
    let mut recordings: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        if let Some((recording, _)) = name {
            recordings.entry(recording).or_default().push(place);
        }
    }
    let length = |places: &[usize]| places.iter().map(|&place| frames[place]).sum::<usize>() as f64;
    let all: f64 = recordings.values().map(|places| length(places)).sum();
    if recordings.len() < 2 {
        let (_, mut places) = recordings.pop_first()?;
        places.sort_by_key(|&place| names[place].as_ref().map(|(_, number)| *number));
        return end_of(&places, frames, all * fraction);
    }
    let mut order: Vec<&str> = recordings.keys().copied().collect();
    order.sort_by_key(|name| files::digest(format!("hold out {seed} {name}")));
    // One that holds most of the sound is needed for training.
    let small = |name: &&str| length(&recordings[name]) <= all / 2.0;
    let mut order: Vec<&str> = match order.iter().copied().filter(small).collect::<Vec<_>>() {
        small if small.is_empty() => order,
        small => small,
    };
    if order.len() == recordings.len() {
        order.pop();
    }
    let mut held = BTreeSet::new();
    let mut reached = 0.0;
    for name in order {
        if reached >= all * fraction {
            break;
        }
        reached += length(&recordings[name]);
        held.extend(recordings[name].iter().copied());
    }
    Some(Places { held, left_out: BTreeSet::new() })
}

/// The end of the only recording; `places` are its clips in order.
fn end_of(places: &[usize], frames: &[usize], wanted: f64) -> Option<Places> {
    if places.len() < 3 {
        return None;
    }
    let mut first = places.len() - 1;
    let mut reached = frames[places[first]] as f64;
    while reached < wanted && first > 2 {
        first -= 1;
        reached += frames[places[first]] as f64;
    }
    let held = places[first..].iter().copied().collect();
    Some(Places { held, left_out: [places[first - 1]].into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clips(counts: &[usize]) -> Vec<Option<(String, i64)>> {
        let clips = counts.iter().enumerate().flat_map(|(r, &n)| (0..n as i64).map(move |i| Some((r.to_string(), i))));
        // Silence is in between.
        std::iter::once(None).chain(clips).collect()
    }

    fn held(names: &[Option<(String, i64)>], fraction: f64, seed: i64) -> Places {
        choose(names, &vec![100; names.len()], fraction, seed).unwrap()
    }

    #[test]
    fn no_recording_is_in_both_sets_and_silence_is_never_held_out() {
        let names = clips(&[5, 3, 4, 6, 2]);
        for seed in 0..20 {
            let places = held(&names, 0.3, seed);
            let of = |wanted: bool| -> BTreeSet<&str> {
                (1..names.len())
                    .filter(|place| places.held.contains(place) == wanted)
                    .map(|place| names[place].as_ref().unwrap().0.as_str())
                    .collect()
            };
            assert!(!places.held.contains(&0) && places.left_out.is_empty());
            assert!(of(true).is_disjoint(&of(false)), "seed {seed}");
            assert!(places.held.len() >= 6 && !of(false).is_empty(), "at least 0.3 of 20 clips: {places:?}");
        }
    }

    #[test]
    fn the_same_seed_holds_out_the_same_and_others_differ() {
        let names = clips(&[2; 12]);
        assert_eq!(held(&names, 0.2, 7), held(&names, 0.2, 7));
        assert!((0..10).any(|seed| held(&names, 0.2, seed) != held(&names, 0.2, 7)));
    }

    #[test]
    fn the_recording_with_most_of_the_sound_is_trained_on() {
        let names = clips(&[20, 1]);
        assert_eq!(held(&names, 0.5, 3).held, [21].into());
    }

    #[test]
    fn of_one_recording_the_end_is_held_out_behind_a_gap() {
        let names = clips(&[10]);
        assert_eq!(held(&names, 0.2, 0), Places { held: [9, 10].into(), left_out: [8].into() });
        assert_eq!(choose(&clips(&[2]), &[100; 3], 0.5, 0), None);
    }
}
