//! Searches without child processes: recorded outcomes are replayed, and every decision is compared with the recorded one.
//!
//! tests/sweep/ holds what commit 90ddc07 decided, whose searches were a script: trials of several spaces (spaces.json), and of 21 sweeps the
//! steps, the leaderboard and the order file (searches.json).

use rvc_run::Result;
use rvc_run::sweep::asha::Asha;
use rvc_run::sweep::board::Report;
use rvc_run::sweep::draw::fraction_of;
use rvc_run::sweep::halving::Halving;
use rvc_run::sweep::plan::Plan;
use rvc_run::sweep::run::{Hooks, Job, NoHooks, Rung, Sweep};
use rvc_run::sweep::space::{Axis, Space};
use rvc_run::sweep::tpe::Tpe;
use rvc_run::sweep::{
    Ended, Goal, Limits, Outcome, OwnRules, Policy, Search, Settings, Step, check, grid, random, rungs,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn recorded(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn searches() -> Vec<Value> {
    recorded(include_str!("sweep/searches.json"))
}

/// What the sweep tpe-allowed allows.
struct Below;

impl Hooks for Below {
    fn allows(&mut self, settings: &Settings) -> Result<bool> {
        Ok(settings["x"].as_f64().unwrap() < 0.9)
    }
}

fn hooks(case: &Value) -> Box<dyn Hooks> {
    if case["plan"]["restricted"] == true { Box::new(Below) } else { Box::new(NoHooks) }
}

/// The plan of a recorded sweep with every option filled in, as stdlib/sweep does it.
fn plan(case: &Value) -> Plan {
    let mut plan = json!({
        "name": "s", "trials": null, "args": [], "recipe": "trial.rhai", "epochs": 30, "min_epochs": 0, "eta": 3, "objective": "score", "goal": "min",
        "max_epochs": 0, "max_minutes": 0.0, "key": "", "search": "halving", "space": null, "count": 16, "seed": 1234,
    });
    let given = case["plan"].as_object().unwrap();
    for (name, value) in given.iter().filter(|(name, _)| !["parallel", "restricted"].contains(&name.as_str())) {
        plan[name] = value.clone();
    }
    plan["slots"] = given["parallel"].clone();
    let space = Space::parse(case["space"].as_str().unwrap()).unwrap();
    let count = case["count"].as_u64().unwrap() as usize;
    if plan["search"] == "tpe" {
        (plan["space"], plan["count"], plan["seed"]) = (space.to_json(), count.into(), case["seed"].clone());
    } else {
        plan["trials"] = json!(random::trials(&space, count, &case["seed"].to_string(), &mut OwnRules).unwrap());
    }
    Plan::from_json(plan.as_object().unwrap()).unwrap()
}

fn rows(jobs: &[Job]) -> Vec<Value> {
    jobs.iter().map(|job| json!([job.name, job.folder, job.epochs, job.settings])).collect()
}

/// Hands a recorded outcome over.
fn end(sweep: &mut Sweep, turn: &Value, hooks: &mut dyn Hooks) -> Vec<Job> {
    let ended = &turn["ended"];
    sweep.ended(ended["name"].as_str().unwrap(), &ended["result"], ended["seconds"].as_f64().unwrap(), hooks).unwrap()
}

#[test]
fn draws_grids_and_edges_are_the_recorded_ones() {
    let spaces = recorded(include_str!("sweep/spaces.json"));
    assert!(spaces.len() > 30);
    for case in spaces {
        let space = Space::parse(case["space"].as_str().unwrap()).unwrap();
        if let Some(trials) = case.get("random") {
            let seed = case["seed"].as_str().map_or_else(|| case["seed"].to_string(), str::to_owned);
            assert_eq!(&json!(random::trials(&space, 12, &seed, &mut OwnRules).unwrap()), trials, "{}", case["space"]);
        } else if let Some(trials) = case.get("grid") {
            let points = case["points"].as_u64().unwrap() as usize;
            assert_eq!(&json!(grid::trials(&space, points).unwrap()), trials, "{}", case["space"]);
        } else {
            assert_eq!(json!(space.edges()), case["edges"], "{}", case["space"]);
        }
        // A script's map of the space is the same space.
        assert_eq!(Space::from_json(space.to_json().as_object().unwrap()).unwrap(), space);
    }
}

#[test]
fn every_search_takes_the_recorded_steps_and_leaves_the_recorded_files() {
    let cases = searches();
    assert_eq!(cases.len(), 21);
    for case in cases {
        let (name, mut hooks) = (&case["name"], hooks(&case));
        let turns = case["turns"].as_array().unwrap();
        let mut sweep = Sweep::new(plan(&case), Vec::new()).unwrap();
        let first = sweep.begin(hooks.as_mut()).unwrap();
        assert_eq!(rows(&first), *turns[0]["starts"].as_array().unwrap(), "{name}");
        for turn in &turns[1..] {
            let next = end(&mut sweep, turn, hooks.as_mut());
            assert_eq!(rows(&next), *turn["starts"].as_array().unwrap(), "{name} after {}", turn["ended"]["name"]);
        }
        let (json, csv) = sweep.files().unwrap();
        assert_eq!(json, case["json"].as_str().unwrap(), "{name}");
        assert_eq!(csv, case["csv"].as_str().unwrap(), "{name}");
        let order = sweep.order().map(|order| format!("{:#}\n", json!(order)));
        assert_eq!(order.as_deref(), case["order"].as_str(), "{name}");
    }
}

/// Names of jobs in the order in which they began.
fn begun(turns: &[Value]) -> Vec<&str> {
    turns.iter().flat_map(|turn| turn["starts"].as_array().unwrap()).map(|start| start[0].as_str().unwrap()).collect()
}

#[test]
fn a_sweep_that_was_interrupted_anywhere_takes_the_same_steps() {
    for case in searches() {
        let name = &case["name"];
        let turns = case["turns"].as_array().unwrap();
        let known: BTreeMap<&str, &Value> =
            turns[1..].iter().map(|turn| (turn["ended"]["name"].as_str().unwrap(), turn)).collect();
        for stop in 1..=turns.len() {
            // What had ended is reported as soon as it is asked for, the newest first; the rest ends as recorded.
            let mut hooks = hooks(&case);
            let before: BTreeSet<&str> =
                turns[1..stop].iter().map(|turn| turn["ended"]["name"].as_str().unwrap()).collect();
            let kept = turns[1..stop].iter().map(|turn| turn["ended"]["name"].as_str().unwrap().to_owned()).collect();
            let mut sweep = Sweep::new(plan(&case), kept).unwrap();
            let mut names: Vec<String> = Vec::new();
            let mut open: Vec<String> = Vec::new();
            let mut add = |jobs: Vec<Job>, open: &mut Vec<String>| {
                names.extend(jobs.iter().map(|job| job.name.clone()));
                open.extend(jobs.into_iter().map(|job| job.name));
            };
            add(sweep.begin(hooks.as_mut()).unwrap(), &mut open);
            while let Some(at) = open.iter().rposition(|name| before.contains(name.as_str())) {
                let ended = open.remove(at);
                add(end(&mut sweep, known[ended.as_str()], hooks.as_mut()), &mut open);
            }
            for turn in &turns[stop..] {
                add(end(&mut sweep, turn, hooks.as_mut()), &mut open);
            }
            // Halving and TPE name steps in one order whatever ended first; ASHA keeps to the recorded order.
            assert_eq!(names, begun(turns), "{name} interrupted after {} outcomes", stop - 1);
            assert_eq!(sweep.files().unwrap().0, case["json"].as_str().unwrap(), "{name} after {stop}");
        }
    }
}

// Properties of the searches themselves.

/// The value of a trial at a rung: a number of two digits, so that some are equal; one in ten has none.
fn value(trial: usize, rung: usize, seed: usize) -> Option<f64> {
    let u = fraction_of(&format!("{seed}/{trial}/{rung}"));
    (fraction_of(&format!("{seed}/odd/{trial}")) > 0.1).then_some((u * 20.0).round() / 20.0)
}

/// Runs a search; of those at work the one that `pick` chooses ends first. Returns the outcomes in order.
fn run(search: &mut dyn Search, policy: &mut dyn Policy, seed: usize, pick: impl Fn(usize) -> usize) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut running = search.next(&[], policy).unwrap();
    while !running.is_empty() {
        let step = running.remove(pick(running.len()).min(running.len() - 1));
        let outcome = Outcome { step, value: value(step.trial, step.rung, seed), seconds: 1.0 + step.trial as f64 };
        running.extend(search.next(&[outcome], policy).unwrap());
        outcomes.push(outcome);
    }
    outcomes
}

fn numbered(count: usize) -> Vec<Settings> {
    (0..count).map(|n| Settings::from_iter([("n".to_owned(), n.into())])).collect()
}

fn space() -> Space {
    Space::parse("x=uniform(0,1); kind=choice(a,b,c)").unwrap()
}

/// A search of each kind over `count` trials.
fn each(count: usize, slots: usize, limits: Limits) -> Vec<(&'static str, Box<dyn Search>)> {
    let ladder = vec![1, 3, 9];
    vec![
        ("halving", Box::new(Halving::new(numbered(count), ladder.clone(), 3, Goal::Min, limits, slots))),
        ("flat", Box::new(Halving::new(numbered(count), vec![9], 3, Goal::Min, limits, slots))),
        ("asha", Box::new(Asha::new(numbered(count), ladder, 3, Goal::Min, limits, slots))),
        ("tpe", Box::new(Tpe::new(space(), count, "7".into(), 9, Goal::Min, limits, slots))),
    ]
}

/// Epochs that steps train: none twice.
fn epochs(name: &str, outcomes: &[Outcome]) -> i64 {
    let ladder: &[i64] = if ["flat", "tpe"].contains(&name) { &[9] } else { &[1, 3, 9] };
    outcomes.iter().map(|outcome| rungs::height(ladder, outcome.step.rung)).sum()
}

#[test]
fn no_step_is_taken_twice_and_none_is_skipped() {
    for seed in 0..8 {
        for slots in [1, 2, 5] {
            for (name, mut search) in each(17, slots, Limits::default()) {
                let outcomes = run(search.as_mut(), &mut OwnRules, seed, |n| (seed * 7 + n) % n.max(1));
                let steps: BTreeSet<Step> = outcomes.iter().map(|outcome| outcome.step).collect();
                assert_eq!(steps.len(), outcomes.len(), "{name}: a step was taken twice");
                let fresh = steps.iter().filter(|step| step.rung == 0).count();
                assert_eq!(fresh, 17, "{name}: every trial begins");
                for step in steps.iter().filter(|step| step.rung > 0) {
                    assert!(steps.contains(&Step { rung: step.rung - 1, ..*step }), "{name}: {step:?} skipped a rung");
                }
                if name != "asha" {
                    assert!(outcomes.len() <= search.steps(), "{name}");
                }
            }
        }
    }
}

#[test]
fn a_trial_without_a_value_never_continues_and_never_wins() {
    for seed in 0..8 {
        for (name, mut search) in each(20, 3, Limits::default()) {
            let outcomes = run(search.as_mut(), &mut OwnRules, seed, |_| 0);
            let failed: BTreeSet<Step> = outcomes.iter().filter(|o| o.value.is_none()).map(|o| o.step).collect();
            for outcome in outcomes.iter().filter(|outcome| outcome.step.rung > 0) {
                let before = Step { rung: outcome.step.rung - 1, ..outcome.step };
                assert!(!failed.contains(&before), "{name}: {before:?} had no value and continued");
            }
        }
    }
    // In the files too: NaN, a missing number and a failure are last.
    for case in searches() {
        let board: Value = serde_json::from_str(case["json"].as_str().unwrap()).unwrap();
        let has: Vec<bool> = board["trials"].as_array().unwrap().iter().map(|t| !t["value"].is_null()).collect();
        assert!(has.windows(2).all(|pair| pair[0] || !pair[1]), "{}", case["name"]);
    }
}

#[test]
fn asha_continues_only_trials_of_the_best_share_of_their_rung() {
    for seed in 0..10 {
        let mut search = Asha::new(numbered(30), vec![1, 3, 9], 3, Goal::Min, Limits::default(), 4);
        let mut ended: Vec<Vec<Ended>> = vec![Vec::new(); 3];
        let mut running = search.next(&[], &mut OwnRules).unwrap();
        let mut reached = false;
        while !running.is_empty() {
            let step = running.remove(seed % running.len());
            let outcome = Outcome { step, value: value(step.trial, step.rung, seed), seconds: 1.0 };
            ended[step.rung].push(Ended { trial: step.trial, value: outcome.value });
            reached |= step.rung == 2 && outcome.value.is_some();
            let next = search.next(&[outcome], &mut OwnRules).unwrap();
            let all_begun = next.is_empty() && running.is_empty();
            for step in next.iter().filter(|step| step.rung > 0) {
                let rung = &ended[step.rung - 1];
                let own = rung.iter().find(|one| one.trial == step.trial).and_then(|one| one.value).unwrap();
                let better = rung.iter().filter(|one| one.value.is_some_and(|value| value < own)).count();
                // The one exception: nothing else is left and no trial has reached the end.
                assert!(better < rung.len() / 3 || (running.is_empty() && !reached), "{step:?}: {rung:?}");
            }
            running.extend(next);
            assert!(!all_begun || running.is_empty());
        }
        assert!(ended[2].len() >= 2, "some reach the end");
    }
}

#[test]
fn halving_continues_exactly_the_best_share_and_orders_ties_by_trial() {
    let mut search = Halving::new(numbered(9), vec![1, 3], 3, Goal::Max, Limits::default(), 2);
    let steps = search.next(&[], &mut OwnRules).unwrap();
    assert_eq!(steps.len(), 9);
    let outcomes = |value: fn(usize) -> f64| -> Vec<Outcome> {
        steps.iter().rev().map(|&step| Outcome { step, value: Some(value(step.trial)), seconds: 1.0 }).collect()
    };
    let next = search.next(&outcomes(|trial| if trial == 7 { 2.0 } else { 1.0 }), &mut OwnRules).unwrap();
    assert_eq!(
        next.iter().map(|step| step.trial).collect::<Vec<_>>(),
        [0, 1, 7],
        "7 is best, then the first of equals"
    );
}

#[test]
fn limits_hold() {
    for most in [0, 8, 9, 31, 50, 80, 1000] {
        let limits = Limits { epochs: Some(most).filter(|&most| most > 0), minutes: None };
        for (name, mut search) in each(16, 3, limits) {
            let outcomes = run(search.as_mut(), &mut OwnRules, 3, |_| 0);
            let trained = epochs(name, &outcomes);
            assert!(most == 0 || trained <= most, "{name}: {trained} epochs of {most}");
            assert!(search.epochs() == 0 || trained <= search.epochs(), "{name}: {trained} of {}", search.epochs());
            let left = (0..search.trials().len()).filter(|&trial| !search.why(trial).is_empty()).count();
            assert!(most > 0 || left == 0, "{name}: none is left over without a limit");
        }
    }
    for (name, mut search) in each(16, 2, Limits { epochs: None, minutes: Some(0.25) }) {
        let outcomes = run(search.as_mut(), &mut OwnRules, 3, |_| 0);
        // The last steps begin before the time is spent: 15 seconds on each slot.
        let before: f64 = outcomes.iter().rev().skip(2).map(|outcome| outcome.seconds / 2.0).sum();
        assert!(before < 15.0 + 17.0 && outcomes.len() < 16, "{name}: {before} s, {} steps", outcomes.len());
    }
    assert_eq!(rungs::cost(12, &[3, 9, 30], 3), 12 * 3 + 4 * 6 + 2 * 21);
    assert_eq!(rungs::rungs(1, i64::MAX, 2).unwrap().len(), 63, "no overflow");
    assert_eq!(rungs::survivors(usize::MAX, usize::MAX, 2).len(), 64);
    assert_eq!(rungs::cost(3, &[i64::MAX; 100], 2), i64::MAX, "more rungs than halvings");
    assert!(message(random::trials(&space(), usize::MAX, "1", &mut OwnRules)).contains("at most 100000"));
}

#[test]
fn outcomes_may_be_handed_over_one_by_one_or_all_at_once() {
    for (n, (name, mut search)) in each(15, 3, Limits::default()).into_iter().enumerate() {
        let outcomes = run(search.as_mut(), &mut OwnRules, 5, |n| n / 2);
        let again = || each(15, 3, Limits::default()).remove(n).1;
        let mut whole = again();
        let all = whole.next(&outcomes, &mut OwnRules).unwrap();
        for cut in 0..=outcomes.len() {
            let mut search = again();
            let mut steps = search.next(&outcomes[..cut], &mut OwnRules).unwrap();
            for outcome in &outcomes[cut..] {
                steps.extend(search.next(&[*outcome], &mut OwnRules).unwrap());
            }
            assert_eq!(steps, all, "{name} cut at {cut}");
        }
    }
}

#[test]
fn tpe_depends_on_the_results_before_a_trial_not_on_which_ended_first() {
    let mut boards = Vec::new();
    for order in 0..3 {
        let mut search = Tpe::new(space(), 25, "9".into(), 3, Goal::Min, Limits::default(), 3);
        run(&mut search, &mut OwnRules, 1, |n| [0, n, n / 2][order]);
        boards.push(search.trials().to_vec());
    }
    assert!(boards.windows(2).all(|pair| pair[0] == pair[1]));
}

// What a recipe decides itself.

/// Promotes what a function of the ended trials names.
struct Promotes(fn(&[Ended]) -> Vec<usize>);

impl Policy for Promotes {
    fn promotes(&mut self, _rung: usize, ended: &[Ended]) -> Result<Option<Vec<usize>>> {
        Ok(Some((self.0)(ended)))
    }
}

#[test]
fn a_policy_decides_who_continues() {
    let odd = |ended: &[Ended]| -> Vec<usize> {
        ended.iter().filter(|one| one.value.is_some() && one.trial % 2 == 1).map(|one| one.trial).collect()
    };
    for (name, mut search) in
        each(10, 2, Limits::default()).into_iter().filter(|(name, _)| !["flat", "tpe"].contains(name))
    {
        let outcomes = run(search.as_mut(), &mut Promotes(odd), 2, |_| 0);
        let continued: BTreeSet<usize> = outcomes.iter().filter(|o| o.step.rung == 1).map(|o| o.step.trial).collect();
        let wanted = (0..10).filter(|&trial| trial % 2 == 1 && value(trial, 0, 2).is_some()).collect();
        assert_eq!(continued, wanted, "{name}");
    }
    for (name, mut search) in each(10, 2, Limits::default()) {
        let outcomes = run(search.as_mut(), &mut Promotes(|_| Vec::new()), 2, |_| 0);
        assert_eq!(outcomes.len(), 10, "{name}: none continues");
    }
    // The limit of epochs holds for it too, and what it must not do is an error.
    let limits = Limits { epochs: Some(40), minutes: None };
    for (name, mut search) in each(10, 2, limits) {
        let all = |ended: &[Ended]| ended.iter().filter(|one| one.value.is_some()).map(|one| one.trial).collect();
        let outcomes = run(search.as_mut(), &mut Promotes(all), 2, |_| 0);
        assert!(epochs(name, &outcomes) <= 40, "{name}");
    }
    let mut search = Halving::new(numbered(3), vec![1, 3], 3, Goal::Min, Limits::default(), 1);
    let steps = search.next(&[], &mut OwnRules).unwrap();
    let outcomes: Vec<Outcome> = steps.iter().map(|&step| Outcome { step, value: None, seconds: 1.0 }).collect();
    let error = search.next(&outcomes, &mut Promotes(|_| vec![1])).unwrap_err();
    assert!(error.message().contains("t02, which has no value at this rung"), "{error}");
}

/// Continues the trials that it is asked about whose names it knows.
struct Named(Vec<&'static str>, Vec<Rung>);

impl Hooks for Named {
    fn promotes(&mut self, rung: &Rung) -> Result<Option<Vec<String>>> {
        self.1.push(rung.clone());
        Ok(Some(self.0.iter().map(|name| (*name).to_owned()).collect()))
    }
}

#[test]
fn a_recipe_sees_the_entries_of_a_rung_best_first_and_names_those_that_continue() {
    let case = json!({
        "space": "x=uniform(0,1)", "count": 4, "seed": 1, "plan": { "search": "halving", "epochs": 4, "min_epochs": 2, "eta": 2, "parallel": 1 },
    });
    let play = |hooks: &mut Named| {
        let mut sweep = Sweep::new(plan(&case), Vec::new()).unwrap();
        let mut next = Vec::new();
        for (n, job) in sweep.begin(hooks).unwrap().iter().enumerate() {
            let result = if n == 1 { json!({ "why": "diverged" }) } else { json!({ "metrics": { "score": n } }) };
            next = sweep.ended(&job.name, &result, 1.0, hooks)?;
        }
        Ok::<_, rvc_run::Error>(next)
    };
    let mut hooks = Named(vec!["t04", "t01"], Vec::new());
    let next = play(&mut hooks).unwrap();
    assert_eq!(next.iter().map(|job| &job.name[..3]).collect::<Vec<_>>(), ["t01", "t04"], "in order of trial");
    let [rung] = &hooks.1[..] else { panic!("asked {} times", hooks.1.len()) };
    assert_eq!((rung.rung, rung.of, rung.epochs, rung.next), (1, 2, 2, 4));
    let ended: Vec<_> =
        rung.ended.iter().map(|one| (one.trial.as_str(), one.rank, one.value, one.why.as_str())).collect();
    let wanted =
        [("t01", 1, Some(0.0), ""), ("t03", 2, Some(2.0), ""), ("t04", 3, Some(3.0), ""), ("t02", 4, None, "diverged")];
    assert_eq!(ended, wanted);
    for wrong in ["t02", "t09"] {
        let error = play(&mut Named(vec![wrong], Vec::new())).unwrap_err();
        assert!(error.message().contains(wrong), "{error}");
    }
}

// What is refused, and how.

fn message(result: Result<impl std::fmt::Debug>) -> String {
    let error = result.unwrap_err();
    format!("{}: {} ({})", error.kind().code(), error.message(), error.hint_text().unwrap_or_default())
}

#[test]
fn a_text_that_is_no_space_is_refused_with_every_fault() {
    let said = message(Space::parse(
        "a=lgo(1,2); b=uniform(3,1); c; d=choice(); e=int(1.5,2); f=log(0,1); f=int(1,2); g=int(1,2); g=int(1,2)",
    ));
    for part in [
        "\"lgo\" is not a kind of setting",
        "did you mean log?",
        "b: a range needs two numbers, low < high, not 3, 1",
        "\"c\" is not a setting of a space",
        "d: a value is missing",
        "e: a range of whole numbers",
        "f: a logarithmic range needs two numbers, 0 < low < high, not 0, 1",
        "g is in the space twice",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(message(Space::parse(" ; ")).contains("names no setting"));
    assert!(Axis::new("int", &[i64::MIN.into(), i64::MAX.into()]).is_err(), "no overflow");
    assert!(
        message(grid::trials(&Space::parse("a=int(1,1000); b=int(1,1000)").unwrap(), 1000)).contains("at most 100000")
    );
}

#[test]
fn settings_that_no_training_takes_are_all_named_before_a_trial_starts() {
    let trial = |value: Value| value.as_object().unwrap().clone();
    let trials = [
        trial(json!({ "batchsize": 4, "c_mel": -1.0, "sample_rate": 40000, "total_epoch": 3, "f0_unvoiced": "zero" })),
        trial(json!({ "sine_generator": "2025", "learning_rate": "fast" })),
    ];
    let said = message(check::trials(&trials, &Map::new(), true));
    for part in [
        "there is no setting \"batchsize\"",
        "did you mean \"batch_size\"?",
        "c_mel is -1, but must be between 0 and 1000000",
        "sample_rate cannot be searched: all trials share it",
        "there is no setting \"total_epoch\"",
        "did you mean \"epochs\"?",
        "f0_unvoiced cannot be searched",
        "sine_generator is 2025, but must be one of",
        "learning_rate is \"fast\", but must be a finite number",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Where trials need not share clips, they may differ in anything.
    assert!(check::trials(&[trial(json!({ "sample_rate": 32000 }))], &Map::new(), false).is_ok());
    // Settings that must agree, with the base.
    let odd = [trial(json!({ "segment_size": 12801 })), trial(json!({ "segment_size": 12802 }))];
    let said = message(check::trials(&odd, &Map::new(), true));
    assert!(said.contains("segment_size is 12801") && said.contains("segment_size is 12802"), "{said}");
}

#[test]
fn a_plan_is_refused_with_every_fault() {
    let right = json!({
        "name": "s", "trials": [], "args": [], "recipe": "trial.rhai", "epochs": 30, "min_epochs": 0, "eta": 3, "objective": "score", "goal": "min",
        "max_epochs": 0, "max_minutes": 0.0, "key": "", "search": "halving", "space": null, "count": 16, "seed": 1234, "slots": 1,
    });
    let with = |changes: Value| {
        let mut plan = right.as_object().unwrap().clone();
        plan.extend(changes.as_object().unwrap().clone());
        Plan::from_json(&plan)
    };
    assert!(with(json!({})).is_ok());
    let said = message(with(json!({ "name": "", "epochs": 0, "eta": 1, "max_minutes": -1.0, "trials": null })));
    for part in [
        "needs a name",
        "epochs of sweep::run is 0, but must be at least 1",
        "eta of sweep::run is 1",
        "max_minutes",
        "needs trials",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (changes, part) in [
        (json!({ "trails": [] }), "did you mean \"trials\"?"),
        (json!({ "search": "grid" }), "must be one of halving, asha, tpe"),
        (json!({ "goal": "best" }), "must be one of min, max"),
        (json!({ "search": "tpe" }), "give it space and count"),
        (json!({ "search": "tpe", "trials": null }), "tpe needs a space"),
        (json!({ "name": "a/b" }), "cannot be the name of a sweep"),
        (json!({ "trials": [1] }), "a map"),
    ] {
        let said = message(with(changes));
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_result_has_the_objective_or_a_reason() {
    let read = |result: Value| Report::read(&result, "score", "s");
    assert_eq!(read(json!({ "metrics": { "score": 3 } })).unwrap().value, Some(3.0));
    let nan = read(json!({ "metrics": { "score": "NaN" } })).unwrap();
    assert_eq!((nan.value, nan.why.as_str()), (None, "score is NaN"));
    assert_eq!(read(json!({ "metrics": {}, "why": "diverged" })).unwrap().why, "diverged");
    assert!(
        message(read(json!({ "metrics": { "scroe": 1.0 } }))).contains("did you mean \"scroe\"?; they report scroe")
    );
    assert!(message(read(Value::Null)).contains("they report no metrics"));
}
