//! The search for settings, on functions whose best places are known: how often it beats draws at random with as many trials.

use rvc_run::sweep::draw::fraction_of;
use rvc_run::sweep::parzen::{Seen, propose};

/// Trials of a search, as many as a sweep may have.
const TRIALS: usize = 40;
/// Searches of each kind.
const SEEDS: usize = 40;

type Function = fn(&[f64]) -> f64;

/// Branin's function over its usual square, brought to the unit square; 0.397887 at three places.
///
/// Source: Dixon and Szego, "The global optimization problem", 1978.
fn branin(at: &[f64]) -> f64 {
    let (x, y) = (15.0 * at[0] - 5.0, 15.0 * at[1]);
    let pi = std::f64::consts::PI;
    let bent = y - 5.1 / (4.0 * pi * pi) * x * x + 5.0 / pi * x - 6.0;
    bent * bent + 10.0 * (1.0 - 1.0 / (8.0 * pi)) * x.cos() + 10.0
}

/// A valley with two settings that are only good together, and two that matter less.
fn valley(at: &[f64]) -> f64 {
    10.0 * (at[0] - at[1]).powi(2) + (at[0] - 0.8).powi(2) + 0.3 * (at[2] - 0.2).powi(2) + 0.1 * at[3]
}

/// A learning rate's bowl beside a choice of five, of which the fourth is best.
fn mixed(at: &[f64]) -> f64 {
    let choice = ((at[1] * 5.0) as usize).min(4);
    (at[0] - 0.35).powi(2) + [0.4, 0.2, 0.3, 0.0, 0.25][choice]
}

const FUNCTIONS: [(&str, Function, &[usize]); 3] =
    [("branin", branin, &[0, 0]), ("valley", valley, &[0, 0, 0, 0]), ("mixed", mixed, &[0, 5])];

fn trials(function: Function, choices: &[usize], seed: usize, failing: Option<f64>) -> Vec<Seen> {
    let mut seen = Vec::new();
    for trial in 0..TRIALS {
        let at = propose(choices, &seen, &format!("{seed}/{trial}"));
        let failed = failing.is_some_and(|from| at[0] > from);
        let loss = if failed { f64::INFINITY } else { function(&at) };
        seen.push(Seen { at, loss });
    }
    seen
}

fn best(seen: &[Seen]) -> f64 {
    seen.iter().map(|seen| seen.loss).fold(f64::INFINITY, f64::min)
}

fn random(function: Function, choices: &[usize], seed: usize) -> f64 {
    let place = |trial| -> Vec<f64> {
        (0..choices.len()).map(|axis| fraction_of(&format!("random {seed}/{trial}/{axis}"))).collect()
    };
    (0..TRIALS).map(|trial| function(&place(trial))).fold(f64::INFINITY, f64::min)
}

#[test]
fn it_finds_better_places_than_random_search_with_as_many_trials() {
    for (name, function, choices) in FUNCTIONS {
        let pair = |seed| (best(&trials(function, choices, seed, None)), random(function, choices, seed));
        let pairs: Vec<(f64, f64)> = (0..SEEDS).map(pair).collect();
        let wins = pairs.iter().filter(|(ours, chance)| ours < chance).count();
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (ours, chance) = (median(pairs.iter().map(|p| p.0).collect()), median(pairs.iter().map(|p| p.1).collect()));
        println!("{name}: better in {wins} of {SEEDS}; medians {ours:.4} and, at random, {chance:.4}");
        // A fair coin gives 28 or more of 40 once in a hundred times.
        assert!(wins >= 28, "{name}: better in {wins} of {SEEDS} searches only");
        assert!(ours < chance, "{name}: median {ours} against {chance}");
    }
}

#[test]
fn the_same_trials_make_the_same_proposal() {
    let seen = trials(valley, &[0, 0, 0, 0], 7, None);
    for n in [0, 3, 10, 20, TRIALS] {
        let again = propose(&[0, 0, 0, 0], &seen[..n], "x");
        assert_eq!(propose(&[0, 0, 0, 0], &seen[..n], "x"), again);
        assert_ne!(propose(&[0, 0, 0, 0], &seen[..n], "y"), again);
    }
}

#[test]
fn places_that_fail_are_avoided() {
    // A training that diverges above a learning rate: half of the range.
    let seen = trials(branin, &[0, 0], 3, Some(0.5));
    let failed = seen[20..].iter().filter(|seen| seen.loss.is_infinite()).count();
    assert!(failed <= 5, "{failed} of the last 20 trials failed");
}

#[test]
fn proposals_are_always_in_the_range() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1e300];
    let seen: Vec<Seen> =
        (0..30).map(|n| Seen { at: vec![[0.0, 1.0, 2.0, -3.0, f64::NAN][n % 5], 0.5], loss: odd[n / 6] }).collect();
    for n in 0..=seen.len() {
        let at = propose(&[0, 3], &seen[..n], &n.to_string());
        assert!(at.iter().all(|x| (0.0..1.0).contains(x)), "{n}: {at:?}");
    }
    assert_eq!(propose(&[], &[], "x"), [0.0; 0]);
}
