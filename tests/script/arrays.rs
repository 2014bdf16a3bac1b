//! Functions given to functions: their allowed results, and that no error or exit in them is swallowed. Large values, long sleeps.

use super::*;

/// The output of a script.
fn printed(text: &str) -> Vec<String> {
    staged(|stage| {
        assert_eq!(stage.run(text), (DONE, vec![]), "{text}");
        stage.printed()
    })
}

/// The message of the error that a script ends with.
fn refused(text: &str) -> String {
    let (code, found) = staged(|stage| stage.run(text));
    assert_eq!((code, found.len()), (FAILED, 1), "{text}: {found:?}");
    found[0].clone()
}

#[test]
fn comparers_of_every_kind_sort() {
    let cases = [
        ("[#{ l: 0.75 }, #{ l: 0.25 }, #{ l: 0.5 }]", "|x, y| x.l - y.l", "[0.25, 0.5, 0.75]", ".map(|t| t.l)"),
        ("[0.3, 0.1, 0.2]", "|x, y| y - x", "[0.3, 0.2, 0.1]", ""),
        ("[3, 1, 2]", "|x, y| x - y", "[1, 2, 3]", ""),
        ("[3, 1, 2]", "|x, y| x > y", "[3, 2, 1]", ""),
        ("[\"b\", \"c\", \"a\"]", "|x, y| x < y", "[\"a\", \"b\", \"c\"]", ""),
        ("[1e300, -1e300, 0.0]", "|x, y| x - y", "[-1e300, 0.0, 1e300]", ""),
        // Equal items keep their order; an inconsistent comparer does no harm.
        ("[[1, 0], [0, 0], [1, 1], [0, 1]]", "|x, y| x[0] - y[0]", "[[0, 0], [0, 1], [1, 0], [1, 1]]", ""),
        ("[1, 2, 3, 4]", "|x, y| 0", "[1, 2, 3, 4]", ""),
        ("[1, 2, 3]", "|x, y| -1", "[3, 2, 1]", ""),
    ];
    for (array, comparer, wanted, after) in cases {
        for name in ["sort", "sort_by"] {
            let text = format!("let a = {array};\na.{name}({comparer});\nprint(a{after} == {wanted});");
            assert_eq!(printed(&text), ["true"], "{text}");
        }
        let text =
            format!("let a = {array};\nlet b = a.order({comparer});\nprint(b{after} == {wanted} && a == {array});");
        assert_eq!(printed(&text), ["true"], "{text}");
    }
}

#[test]
fn a_long_array_is_sorted_as_by_rust() {
    let text = "let a = [];\nfor i in 0..500 { a.push(system::fraction_of(`${i}`)); }\nlet b = a.order();\n\
                a.sort(|x, y| x - y);\nlet ordered = true;\nfor i in 1..500 { if a[i - 1] > a[i] { ordered = false; } }\n\
                print(ordered && a == b);\na.reverse();\nprint(a == b.order_desc());";
    assert_eq!(printed(text), ["true", "true"]);
}

#[test]
fn a_comparer_with_a_useless_result_is_an_error_with_place_and_hint() {
    for (comparer, answer) in [
        ("|x, y| { let d = x - y; }", "()"),
        ("|x, y| \"less\"", "\"less\""),
        ("|x, y| 0.0 / 0.0", "NaN"),
        ("|x, y| [x, y]", "an array"),
        ("|x, y| #{ order: 1 }", "a map"),
    ] {
        let message = refused(&format!("let a = [2, 1];\na.sort({comparer});"));
        assert!(
            message
                .starts_with(&format!("error[script]: the function given to `sort` returns {answer}, but must return")),
            "{message}"
        );
        assert!(message.contains("recipes/test.rhai:2:3") && message.contains("= hint: "), "{message}");
    }
}

#[test]
fn an_error_in_a_comparer_reaches_the_recipe_and_keeps_the_array() {
    let text = "let a = [#{ l: 2 }, #{ l: 1 }];\nlet kind = \"\";\n\
                try { a.sort(|x, y| { throw system::error(\"data.empty\", \"no loss\", \"\"); }); } catch (e) { kind = e.kind; }\n\
                print(`${kind} ${a[0].l}`);";
    assert_eq!(printed(text), ["data.empty 2"]);
    let message = refused("let a = [#{ l: 2 }, #{}];\na.sort(|x, y| x.l - y.l);");
    assert!(message.contains("there is no property `l`"), "{message}");
}

#[test]
fn arrays_without_a_natural_order_are_refused() {
    for (array, part) in [
        ("[1, \"a\"]", "1 and \"a\" cannot be sorted together"),
        ("[#{ a: 1 }, #{ a: 2 }]", "a map cannot be sorted"),
        ("[[2], [1]]", "an array cannot be sorted"),
        ("[1.0, 0.0 / 0.0]", "NaN cannot be sorted"),
        ("[true, 1]", "true and 1 cannot be sorted together"),
    ] {
        for name in ["sort", "sort_desc", "order", "order_desc"] {
            let message = refused(&format!("let a = {array};\na.{name}();"));
            assert!(message.contains(part) && message.contains("= hint: give a comparer"), "{message}");
        }
    }
    assert_eq!(
        printed("let a = [2, 0.5, -1, 1.5];\na.sort();\nprint(a);\nprint([].order());\nprint([()].order());"),
        ["[-1, 0.5, 1.5, 2]", "[]", "[()]"]
    );
}

#[test]
fn predicates_must_return_true_or_false() {
    let calls =
        ["filter", "some", "all", "find", "index_of", "drain", "retain"].map(|name| (name, format!("a.{name}(|x| x)")));
    for (name, call) in calls.iter().chain(&[("dedup", "a.dedup(|x, y| x - y)".to_owned())]) {
        let message = refused(&format!("let a = [1, 2];\n{call};"));
        assert!(message.contains(&format!("the function given to `{name}` returns ")), "{message}");
        assert!(message.contains("but must return true or false"), "{message}");
        assert!(message.contains("recipes/test.rhai:2:3"), "{message}");
    }
    for name in ["filter", "drain", "retain"] {
        let message = refused(&format!("let m = #{{ a: 1 }};\nm.{name}(|key, value| value);"));
        assert!(message.contains(&format!("the function given to `{name}` returns ")), "{message}");
    }
}

#[test]
fn predicates_work_as_in_rhai() {
    let text = "let a = [1, 2, 2, 3];
print(a.filter(|x| x > 1));
print(a.filter(|x, i| i > 1));
print(`${a.some(|x| x == 3)} ${a.all(|x| x > 1)} ${a.find(|x| x > 1)} ${a.index_of(|x| x > 2)} ${a.index_of(|x| x > 9)}`);
print(`${a.find(|x| x > 1, -1)} ${a.index_of(|x| x > 0, 2)} ${[\"a\", \"b\"].index_of(\"b\")} ${a.index_of(2)}`);
let b = a; b.dedup(); print(b);
let b = a; b.dedup(|x, y| true); print(b);
let b = a; print(`${b.drain(|x| x == 2)} ${b}`);
let b = a; print(`${b.retain(|x| x == 2)} ${b}`);
print(`${a.reduce(|sum, x| (sum ?? 0) + x)} ${a.reduce(|sum, x| sum + x, 10)} ${a.reduce_rev(|sum, x| `${sum}${x}`, \"\")}`);
print(`${a.map(|x| x * 2)} ${a.map(|x, i| i)} ${a.find_map(|x| if x > 1 { x * 10 })} ${a.zip([1, 1], |x, y| x + y)}`);
let b = a; b.for_each(|| this += 1); print(b);
let m = #{ a: 1, b: 2 };
print(`${m.filter(|key, value| value > 1)} ${m.map(|key, value| value + 1)}`);
print(`${m.drain(|key, value| key == \"a\")} ${m}`);
fn small(x) { x < 2 }
print(a.filter(Fn(\"small\")));";
    let wanted = [
        "[2, 2, 3]",
        "[2, 3]",
        "true false 2 3 -1",
        "3 2 1 1",
        "[1, 2, 3]",
        "[1]",
        "[2, 2] [1, 3]",
        "[1, 3] [2, 2]",
        "8 18 3221",
        "[2, 4, 4, 6] [0, 1, 2, 3] 20 [2, 3]",
        "[2, 3, 3, 4]",
        "#{\"b\": 2} #{\"a\": 2, \"b\": 3}",
        "#{\"a\": 1} #{\"b\": 2}",
        "[1]",
    ];
    assert_eq!(printed(text), wanted);
}

#[test]
fn an_exit_and_a_signal_pass_through_functions_given_to_functions() {
    for call in [
        "[1].for_each(|| system::exit_with(3))",
        "[1].map(|x| system::exit_with(3))",
        "[2, 1].sort(|x, y| system::exit_with(3))",
        "[1].filter(|x| [2].map(|y| system::exit_with(3)))",
        "#{ a: 1 }.filter(|key, value| system::exit_with(3))",
        "[1, 1].dedup(|x, y| system::exit_with(3))",
    ] {
        let text = format!("try {{ {call}; }} catch {{ print(\"caught\"); }}\nprint(\"after\");");
        let (code, printed) = staged(|stage| (stage.run(&text).0, stage.printed()));
        assert_eq!((code, printed), (3, vec![]), "{text}");
    }
    let (code, printed) = staged(|stage| {
        let text = "print(\"in the loop\");\ntry { [1, 2].sort(|x, y| loop { let z = 1; }); } catch { print(\"caught\"); }\nprint(\"after\");";
        (cancelled(stage, text), stage.printed())
    });
    assert_eq!((code, printed), (CANCELLED, vec!["in the loop".to_owned()]));
}

#[test]
fn the_name_of_a_function_in_quotes_is_refused() {
    for name in ["sort", "filter", "map", "some", "all", "drain", "retain", "reduce", "dedup"] {
        let message = refused(&format!("fn f(x) {{ true }}\nlet a = [2, 1];\na.{name}(\"f\");"));
        assert!(message.contains(&format!("`{name}` needs a function, not the string \"f\"")), "{message}");
        assert!(message.contains(&format!("`{name}(Fn(\"f\"))`")), "{message}");
    }
}

#[test]
fn a_closure_with_wrong_parameters_is_reported_without_its_internal_name() {
    let message = refused("let a = [2, 1];\na.sort(|x| x);");
    assert!(message.contains("the function got 2 values, but takes another number"), "{message}");
    assert!(!message.contains("anon$"), "{message}");
}

#[test]
fn large_values_are_refused_before_they_are_built() {
    for (call, what) in [
        ("let s = \"\"; s.pad(4000000, 'a'); s.replace(\"a\", s)", "a string would have more than"),
        ("let s = \"\"; s.pad(9000000, 'a'); s.replace('a', \"bb\")", "a string would have more than"),
        ("let s = \"\"; s.pad(4000000, ' '); s.split(' ')", "an array would have more than"),
        ("let s = \"\"; s.pad(4000000, 'a'); s.split(\"\")", "an array would have more than"),
        ("let s = \"\"; s.pad(4000000, 'a'); s.to_chars()", "an array would have more than"),
        ("let s = \"\"; s.pad(4000000, ','); system::split_names(s + \"a\".len().to_string())", ""),
        ("let a = []; a.pad(9223372036854775807, 0)", "an array would have more than"),
        ("let a = []; a.pad(9223372036854775807, [1, 2, 3])", "an array would have more than"),
        ("let a = []; a.pad(900000, [1, 2, 3])", "an array would have more than"),
        ("blob(9223372036854775807)", "too large"),
        ("let s = \"\"; s.pad(9223372036854775807, 'a')", "a string would have more than"),
        ("let s = \"\"; s.pad(9223372036854775807, \"ab\")", "a string would have more than"),
        ("let s = \"\"; s.pad(100, \"\")", "cannot be padded with an empty one"),
    ] {
        if what.is_empty() {
            printed(&format!("{call};"));
        } else {
            let message = refused(&format!("{call};"));
            assert!(message.contains(what), "{call}: {message}");
        }
    }
    let text = "let s = \"a-b\"; s.replace(\"-\", \"+\"); print(s); s.replace('a', 'c'); print(s); s.replace(\"x\", \"y\"); print(s);\n\
                print(\"a b c\".split(\" \", 2)); print(\"a b  c\".split()); print(\"a,b\".split_rev(',')); print(\"ab\".to_chars());\n\
                let p = \"ab\"; p.pad(5, \"cd\"); print(p); p.pad(3, 'x'); p.pad(8, 'x'); print(p);";
    assert_eq!(
        printed(text),
        [
            "a+b",
            "c+b",
            "c+b",
            "[\"a\", \"b c\"]",
            "[\"a\", \"b\", \"c\"]",
            "[\"b\", \"a\"]",
            "[a, b]",
            "abcdcd",
            "abcdcdxx"
        ]
    );
}

#[test]
fn numbers_out_of_range_are_refused_with_their_purpose() {
    for (call, part) in [
        ("sleep(1e300)", "sleep got 1e300 seconds"),
        ("sleep(-1)", "between 0 and 604800"),
        ("sleep(0.0 / 0.0)", "between 0 and 604800"),
        ("sleep(9223372036854775807)", "between 0 and 604800"),
        (
            "train::learning_rate(#{}, 9223372036854775807)",
            "epoch is 9223372036854775807, but must be between 1 and 1000000",
        ),
        ("train::learning_rate(#{}, 0)", "epoch is 0, but must be"),
        ("system::seconds_of(\"9e999d\")", "is not a length of time"),
        ("system::seconds_of(`${1e300}${1e300}d`)", "is not a length of time"),
    ] {
        let message = refused(&format!("{call};"));
        assert!(message.contains(part), "{call}: {message}");
    }
    assert_eq!(printed("sleep(0); sleep(0.0); print(type_of(train::learning_rate(#{}, 1000000)));"), ["f64"]);
}

#[test]
fn a_signal_ends_a_sleep_of_a_week() {
    let (code, printed) = staged(|stage| {
        let text = "print(\"in the loop\");\ntry { sleep(604800); } catch { print(\"caught\"); }\nprint(\"after\");";
        (cancelled(stage, text), stage.printed())
    });
    assert_eq!((code, printed), (CANCELLED, vec!["in the loop".to_owned()]));
}

/// Every function of Rhai and of ours that takes plain values and touches no file, called with the extremes of each type: an answer or an error, never a panic.
#[test]
#[ignore = "slow: every function with every extreme"]
fn no_plain_function_panics_at_extremes() {
    /// Functions that wait, end or start something.
    const LEFT_OUT: &[&str] = &["exit", "sleep", "exit_with", "eval", "print", "debug", "table", "warn"];
    let extremes = |kind: &str| -> Vec<&'static str> {
        match kind {
            "int" => vec!["0", "-1", "(-9223372036854775807 - 1)", "9223372036854775807", "100"],
            "float" => vec!["0.0", "-1.5", "(0.0 / 0.0)", "1e300", "(-1.0 / 0.0)"],
            "text" => vec!["\"\"", "\"\u{e9}a\u{1f600}\"", "\"9e999\"", "`${1e300}`"],
            "char" => vec!["'a'", "'\u{1f600}'"],
            "bool" => vec!["true"],
            "array" => vec!["[]", "[1, \"a\", ()]", "[[1.5], #{}]"],
            "map" => vec!["#{}", "#{ a: 1, epochs: 2 }"],
            "any" => vec!["()", "1", "\"a\"", "[1]"],
            "Instant" => vec!["timestamp()"],
            "Fn" => vec!["|x| x", "|x, y| ()"],
            "Range<INT>" | "ExclusiveRange" => vec!["0..9223372036854775807", "5..-5"],
            "InclusiveRange" => vec!["0..=9223372036854775807", "5..=-5"],
            "Blob" => vec!["blob(3, 255)"],
            _ => Vec::new(),
        }
    };
    let broken = staged(|stage| {
        let natives = Natives::of(&stage.host.engine);
        let mut broken = Vec::new();
        let mut called = 0;
        for f in &natives.functions {
            let plain = f.name.starts_with(|c: char| c.is_alphabetic()) && f.property().is_none();
            let module = f.module.as_deref();
            if !plain || LEFT_OUT.contains(&f.name.as_str()) || !matches!(module, None | Some("system" | "train")) {
                continue;
            }
            let mut calls = vec![String::new()];
            for (_, kind) in &f.params {
                let more =
                    |call: &String| extremes(kind).into_iter().map(move |x| format!("{call}{x}, ")).collect::<Vec<_>>();
                calls = calls.iter().flat_map(more).take(400).collect();
            }
            for arguments in calls.iter().filter(|_| f.params.len() <= 4) {
                let name = module.map_or_else(|| f.name.clone(), |m| format!("{m}::{}", f.name));
                let text = format!("{name}({})", arguments.trim_end_matches(", "));
                called += 1;
                let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    stage.host.engine.eval::<rhai::Dynamic>(&text).map(drop)
                }));
                if ran.is_err() {
                    broken.push(text);
                }
            }
        }
        assert!(called > 1000, "{called}");
        broken
    });
    assert!(broken.is_empty(), "{broken:#?}");
}
