//! Array and map functions that take a function, replacing Rhai's.
//!
//! Rhai 1.27 accepts only the expected answers from the function and misreads others: `sort` takes an error or a float for "sort by type"; `filter`, `some`, `drain` and
//! the others take everything that is not a bool for false; `dedup` takes an error for false; and an exit or a signal inside any of them becomes an error that
//! `catch` swallows. Here a comparer may return any number or a bool, every other answer is an error, and errors and exits pass through.

use super::{At, Fallible, value};
use crate::{Error, Kind};
use rhai::plugin::*;
use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};
use std::cmp::Ordering;

/// Array functions that Rhai also calls with the name of a function in quotes, which `check` could not follow.
const BY_NAME: &[&str] = &[
    "map",
    "filter",
    "some",
    "all",
    "find",
    "dedup",
    "reduce",
    "reduce_rev",
    "sort",
    "sort_by",
    "order",
    "drain",
    "retain",
];

#[export_module]
pub mod api {
    /// Sorts an array in place by a comparer: `|x, y|` returns a number, whole or not (below 0: x comes first; above 0: y does), or true where x comes
    /// first. Items that compare as equal keep their order.
    ///
    /// * Fails with `script` if the comparer returns anything else or NaN, or fails; the array is then unchanged.
    ///
    /// # Example
    /// ```rhai
    /// let trials = [#{ loss: 0.75 }, #{ loss: 0.25 }, #{ loss: 0.5 }];
    /// trials.sort(|x, y| x.loss - y.loss);
    /// trials.map(|trial| trial.loss) == [0.25, 0.5, 0.75]
    /// ```
    #[rhai_fn(name = "sort", name = "sort_by", return_raw)]
    pub fn sort_by(ctx: NativeCallContext, array: &mut Array, comparer: FnPtr) -> Fallible<()> {
        *array = super::by(&ctx, "sort", array, &comparer)?;
        Ok(())
    }

    /// Returns a sorted copy of an array; see `sort`.
    #[rhai_fn(name = "order", name = "order_by", return_raw, pure)]
    pub fn order_by(ctx: NativeCallContext, array: &mut Array, comparer: FnPtr) -> Fallible<Array> {
        super::by(&ctx, "order", array, &comparer)
    }

    /// Sorts an array of numbers (whole or not), strings or booleans in place, smallest first.
    ///
    /// * Fails with `script` for an array of other or mixed types, and for NaN.
    ///
    /// # Example
    /// ```rhai
    /// let a = [2, 0.5, 1];
    /// a.sort();
    /// a == [0.5, 1, 2]
    /// ```
    #[rhai_fn(name = "sort", return_raw)]
    pub fn sort(ctx: NativeCallContext, array: &mut Array) -> Fallible<()> {
        *array = super::natural(array, false).at(&ctx)?;
        Ok(())
    }

    /// Sorts an array in place, largest first; see `sort`.
    #[rhai_fn(name = "sort_desc", return_raw)]
    pub fn sort_desc(ctx: NativeCallContext, array: &mut Array) -> Fallible<()> {
        *array = super::natural(array, true).at(&ctx)?;
        Ok(())
    }

    #[rhai_fn(name = "order", return_raw, pure)]
    pub fn order(ctx: NativeCallContext, array: &mut Array) -> Fallible<Array> {
        super::natural(array, false).at(&ctx)
    }

    #[rhai_fn(name = "order_desc", return_raw, pure)]
    pub fn order_desc(ctx: NativeCallContext, array: &mut Array) -> Fallible<Array> {
        super::natural(array, true).at(&ctx)
    }

    #[rhai_fn(return_raw)]
    pub fn for_each(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<()> {
        for (i, item) in array.iter_mut().enumerate() {
            // The item is `this`, never an argument.
            let _ =
                super::through(f.call_raw_with_extra_args("for_each", &ctx, Some(item), [], [super::whole(i)], None))?;
        }
        Ok(())
    }

    #[rhai_fn(return_raw, pure)]
    pub fn map(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Array> {
        array.iter_mut().enumerate().map(|(i, item)| super::answer(&ctx, "map", &f, item, i)).collect()
    }

    #[rhai_fn(return_raw, pure)]
    pub fn find_map(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Dynamic> {
        super::first_answer(&ctx, array, &f, 0)
    }

    #[rhai_fn(name = "find_map", return_raw, pure)]
    pub fn find_map_from(ctx: NativeCallContext, array: &mut Array, f: FnPtr, start: i64) -> Fallible<Dynamic> {
        super::first_answer(&ctx, array, &f, start)
    }

    #[rhai_fn(return_raw, pure)]
    pub fn zip(ctx: NativeCallContext, array: &mut Array, other: Array, f: FnPtr) -> Fallible<Array> {
        let pairs = array.iter().zip(other).enumerate();
        let answer = |(i, (x, y)): (usize, (&Dynamic, Dynamic))| {
            super::through(f.call_raw_with_extra_args("zip", &ctx, None, [x.clone(), y], [super::whole(i)], None))
        };
        pairs.map(answer).collect()
    }

    #[rhai_fn(return_raw, pure)]
    pub fn reduce(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Dynamic> {
        super::fold(&ctx, "reduce", array, &f, Dynamic::UNIT)
    }

    #[rhai_fn(name = "reduce", return_raw, pure)]
    pub fn reduce_from(ctx: NativeCallContext, array: &mut Array, f: FnPtr, initial: Dynamic) -> Fallible<Dynamic> {
        super::fold(&ctx, "reduce", array, &f, initial)
    }

    #[rhai_fn(return_raw, pure)]
    pub fn reduce_rev(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Dynamic> {
        super::fold(&ctx, "reduce_rev", array, &f, Dynamic::UNIT)
    }

    #[rhai_fn(name = "reduce_rev", return_raw, pure)]
    pub fn reduce_rev_from(ctx: NativeCallContext, array: &mut Array, f: FnPtr, initial: Dynamic) -> Fallible<Dynamic> {
        super::fold(&ctx, "reduce_rev", array, &f, initial)
    }

    /// Returns the items for which a function returns true; `some`, `all`, `find`, `index_of`, `drain` and `retain` call it in the same way.
    ///
    /// * Fails with `script` if the function returns anything but true or false.
    ///
    /// # Example
    /// ```rhai
    /// let asked = "";
    /// try { [1, 2].filter(|x| x - 1); } catch (e) { asked = e.message; }
    /// [1, 2].filter(|x| x > 1) == [2] && asked == "the function given to `filter` returns 0, but must return true or false"
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn filter(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Array> {
        let wanted = super::answers(&ctx, "filter", array, &f)?;
        Ok(array.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(item, _)| item.clone()).collect())
    }

    #[rhai_fn(return_raw, pure)]
    pub fn some(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<bool> {
        Ok(super::position(&ctx, "some", array, &f, 0, true)?.is_some())
    }

    #[rhai_fn(return_raw, pure)]
    pub fn all(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<bool> {
        Ok(super::position(&ctx, "all", array, &f, 0, false)?.is_none())
    }

    #[rhai_fn(return_raw, pure)]
    pub fn find(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Dynamic> {
        let found = super::position(&ctx, "find", array, &f, 0, true)?;
        Ok(found.map_or(Dynamic::UNIT, |i| array[i].clone()))
    }

    #[rhai_fn(name = "find", return_raw, pure)]
    pub fn find_from(ctx: NativeCallContext, array: &mut Array, f: FnPtr, start: i64) -> Fallible<Dynamic> {
        let found = super::position(&ctx, "find", array, &f, start, true)?;
        Ok(found.map_or(Dynamic::UNIT, |i| array[i].clone()))
    }

    #[rhai_fn(name = "index_of", return_raw, pure)]
    pub fn index_of_function(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<i64> {
        Ok(super::position(&ctx, "index_of", array, &f, 0, true)?.map_or(-1, |i| i as i64))
    }

    #[rhai_fn(name = "index_of", return_raw, pure)]
    pub fn index_of_function_from(ctx: NativeCallContext, array: &mut Array, f: FnPtr, start: i64) -> Fallible<i64> {
        Ok(super::position(&ctx, "index_of", array, &f, start, true)?.map_or(-1, |i| i as i64))
    }

    // A string is searched for as a value: Rhai would call a function of that name, if there is one.
    #[rhai_fn(name = "index_of", return_raw, pure)]
    pub fn index_of_text(ctx: NativeCallContext, array: &mut Array, text: &str) -> Fallible<i64> {
        super::index_of(&ctx, array, text, 0)
    }

    #[rhai_fn(name = "index_of", return_raw, pure)]
    pub fn index_of_text_from(ctx: NativeCallContext, array: &mut Array, text: &str, start: i64) -> Fallible<i64> {
        super::index_of(&ctx, array, text, start)
    }

    #[rhai_fn(return_raw)]
    pub fn drain(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Array> {
        let wanted = super::answers(&ctx, "drain", array, &f)?;
        let (drained, kept) = super::parted(array, &wanted);
        *array = kept;
        Ok(drained)
    }

    #[rhai_fn(return_raw)]
    pub fn retain(ctx: NativeCallContext, array: &mut Array, f: FnPtr) -> Fallible<Array> {
        let wanted = super::answers(&ctx, "retain", array, &f)?;
        let (kept, drained) = super::parted(array, &wanted);
        *array = kept;
        Ok(drained)
    }

    #[rhai_fn(return_raw)]
    pub fn dedup(ctx: NativeCallContext, array: &mut Array) -> Fallible<()> {
        *array = super::deduped(array, |x, y| super::equal(&ctx, x, y))?;
        Ok(())
    }

    #[rhai_fn(name = "dedup", return_raw)]
    pub fn dedup_by(ctx: NativeCallContext, array: &mut Array, comparer: FnPtr) -> Fallible<()> {
        *array = super::deduped(array, |x, y| {
            let answer = super::through(comparer.call_raw(&ctx, None, [x.clone(), y.clone()]))?;
            super::truth(&ctx, "dedup", &answer)
        })?;
        Ok(())
    }

    #[rhai_fn(name = "map", return_raw, pure)]
    pub fn map_map(ctx: NativeCallContext, map: &mut Map, f: FnPtr) -> Fallible<Map> {
        let answer = |(key, item): (&_, &mut Dynamic)| {
            let key: &rhai::Identifier = key;
            Ok((key.clone(), super::answer_of_key(&ctx, "map", &f, key, item)?))
        };
        map.iter_mut().map(answer).collect()
    }

    #[rhai_fn(name = "filter", return_raw, pure)]
    pub fn filter_map(ctx: NativeCallContext, map: &mut Map, f: FnPtr) -> Fallible<Map> {
        Ok(super::parted_map(&ctx, "filter", map, &f)?.0)
    }

    #[rhai_fn(name = "drain", return_raw)]
    pub fn drain_map(ctx: NativeCallContext, map: &mut Map, f: FnPtr) -> Fallible<Map> {
        let (drained, kept) = super::parted_map(&ctx, "drain", map, &f)?;
        *map = kept;
        Ok(drained)
    }

    #[rhai_fn(name = "retain", return_raw)]
    pub fn retain_map(ctx: NativeCallContext, map: &mut Map, f: FnPtr) -> Fallible<Map> {
        let (kept, drained) = super::parted_map(&ctx, "retain", map, &f)?;
        *map = kept;
        Ok(drained)
    }
}

/// Refuses the name of a function in quotes where a function is required.
pub fn register_names(engine: &mut rhai::Engine) {
    for &name in BY_NAME {
        engine.register_fn(name, move |ctx: NativeCallContext, _: &mut Array, given: &str| -> Fallible<Dynamic> {
            let message = format!("`{name}` needs a function, not the string {given:?}");
            let closure = if matches!(name, "sort" | "sort_by" | "order" | "dedup") { "|x, y| ..." } else { "|x| ..." };
            Err(Error::new(Kind::Script, message)
                .hint(format!("write `{name}({closure})`, or `{name}(Fn({given:?}))`")))
            .at(&ctx)
        });
    }
}

fn whole(i: usize) -> Dynamic {
    Dynamic::from(i as i64)
}

/// An exit, a signal or a limit passes unchanged: if it were wrapped, `catch` would swallow it.
fn through<T>(result: Fallible<T>) -> Fallible<T> {
    result.map_err(|error| match *error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _)
            if inner.is_pseudo_error() || inner.is_system_exception() =>
        {
            inner
        }
        other => other.into(),
    })
}

/// The result of a function for an item, which it may change through `this`; it gets the index too if it takes two arguments.
fn answer(ctx: &NativeCallContext, name: &str, f: &FnPtr, item: &mut Dynamic, i: usize) -> Fallible<Dynamic> {
    through(f.call_raw_with_extra_args(name, ctx, Some(item), [], [whole(i)], Some(0)))
}

fn answer_of_key(ctx: &NativeCallContext, name: &str, f: &FnPtr, key: &str, item: &mut Dynamic) -> Fallible<Dynamic> {
    through(f.call_raw_with_extra_args(name, ctx, Some(item), [key.into()], [], Some(1)))
}

fn truth(ctx: &NativeCallContext, name: &str, answer: &Dynamic) -> Fallible<bool> {
    answer.as_bool().map_err(|_| wrong(name, answer, "true or false")).at(ctx)
}

fn wrong(name: &str, answer: &Dynamic, allowed: &str) -> Error {
    let shown = value::shown(answer);
    let error =
        Error::new(Kind::Script, format!("the function given to `{name}` returns {shown}, but must return {allowed}"));
    if answer.is_unit() {
        return error
            .hint("a function returns the value of its last line; declarations, assignments and loops have no value");
    }
    error.hint(match name {
        "sort" | "order" => {
            "such as `|x, y| x.loss - y.loss`; strings are compared like this: `|x, y| x.name < y.name`"
        }
        _ => "return a comparison: `|x| x != 0`",
    })
}

/// Whether the function returns true, for each item. It is called for all items before anything is changed.
fn answers(ctx: &NativeCallContext, name: &str, array: &mut Array, f: &FnPtr) -> Fallible<Vec<bool>> {
    let ask = |(i, item): (usize, &mut Dynamic)| truth(ctx, name, &answer(ctx, name, f, item, i)?);
    array.iter_mut().enumerate().map(ask).collect()
}

/// The first item from `start` on for which the function returns `wanted`.
fn position(
    ctx: &NativeCallContext,
    name: &str,
    array: &mut Array,
    f: &FnPtr,
    start: i64,
    wanted: bool,
) -> Fallible<Option<usize>> {
    let start = offset(array.len(), start);
    for (i, item) in array.iter_mut().enumerate().skip(start) {
        if truth(ctx, name, &answer(ctx, name, f, item, i)?)? == wanted {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// The index that `start` means; below 0 it counts from the end.
fn offset(len: usize, start: i64) -> usize {
    let far = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
    if start < 0 { len.saturating_sub(far) } else { far.min(len) }
}

fn first_answer(ctx: &NativeCallContext, array: &mut Array, f: &FnPtr, start: i64) -> Fallible<Dynamic> {
    let start = offset(array.len(), start);
    for (i, item) in array.iter_mut().enumerate().skip(start) {
        let answer = answer(ctx, "find_map", f, item, i)?;
        if !answer.is_unit() {
            return Ok(answer);
        }
    }
    Ok(Dynamic::UNIT)
}

fn fold(ctx: &NativeCallContext, name: &str, array: &mut Array, f: &FnPtr, initial: Dynamic) -> Fallible<Dynamic> {
    let step = |sum: Dynamic, (i, item): (usize, &mut Dynamic)| {
        through(f.call_raw_with_extra_args(name, ctx, Some(item), [sum], [whole(i)], Some(1)))
    };
    let mut items = array.iter_mut().enumerate();
    if name == "reduce_rev" { items.rev().try_fold(initial, step) } else { items.try_fold(initial, step) }
}

fn index_of(ctx: &NativeCallContext, array: &Array, text: &str, start: i64) -> Fallible<i64> {
    let text = Dynamic::from(text.to_owned());
    for (i, item) in array.iter().enumerate().skip(offset(array.len(), start)) {
        if equal(ctx, item, &text)? {
            return Ok(i as i64);
        }
    }
    Ok(-1)
}

/// Whether `x == y` in a script. Values of different types that cannot be compared are not equal.
fn equal(ctx: &NativeCallContext, x: &Dynamic, y: &Dynamic) -> Fallible<bool> {
    match ctx.call_native_fn_raw("==", true, &mut [&mut x.clone(), &mut y.clone()]) {
        Ok(answer) => Ok(answer.as_bool().unwrap_or(false)),
        Err(error)
            if x.type_id() != y.type_id()
                && matches!(&*error, EvalAltResult::ErrorFunctionNotFound(call, _) if call.starts_with("==")) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The array without the items that equal the kept item before them.
fn deduped(array: &Array, mut same: impl FnMut(&Dynamic, &Dynamic) -> Fallible<bool>) -> Fallible<Array> {
    let mut kept: Array = Vec::new();
    for item in array {
        let again = match kept.last() {
            Some(last) => same(last, item)?,
            None => false,
        };
        if !again {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}

/// The wanted items, and the others.
fn parted(array: &mut Array, wanted: &[bool]) -> (Array, Array) {
    let (mut yes, mut no) = (Array::new(), Array::new());
    for (item, &wanted) in std::mem::take(array).into_iter().zip(wanted) {
        if wanted { yes.push(item) } else { no.push(item) }
    }
    (yes, no)
}

/// The entries for which the function returns true, and the others; the map itself is unchanged.
fn parted_map(ctx: &NativeCallContext, name: &str, map: &mut Map, f: &FnPtr) -> Fallible<(Map, Map)> {
    let (mut yes, mut no) = (Map::new(), Map::new());
    for (key, item) in map.iter_mut() {
        let wanted = truth(ctx, name, &answer_of_key(ctx, name, f, key, item)?)?;
        if wanted { &mut yes } else { &mut no }.insert(key.clone(), item.clone());
    }
    Ok((yes, no))
}

/// The array sorted by a comparer.
fn by(ctx: &NativeCallContext, name: &str, array: &Array, comparer: &FnPtr) -> Fallible<Array> {
    sorted(array, &mut |x, y| {
        let answer = through(comparer.call_raw(ctx, None, [x.clone(), y.clone()]))?;
        let allowed = "a number (below 0: the first comes before the second) or true or false";
        if let Ok(number) = answer.as_int() {
            return Ok(number < 0);
        }
        match answer.as_float() {
            Ok(number) if !number.is_nan() => Ok(number < 0.0),
            Ok(_) => Err(wrong(name, &answer, allowed)).at(ctx),
            Err(_) => answer.as_bool().map_err(|_| wrong(name, &answer, allowed)).at(ctx),
        }
    })
}

/// The array in the natural order of its values.
fn natural(array: &Array, descending: bool) -> crate::Result<Array> {
    let mixed = |x: &Dynamic, y: &Dynamic| {
        let message = if x.is::<f64>() && y.is::<f64>() || x.type_id() == y.type_id() && !comparable(x) {
            format!("{} cannot be sorted", value::shown(x))
        } else {
            format!("{} and {} cannot be sorted together", value::shown(x), value::shown(y))
        };
        Error::new(Kind::Script, message)
            .hint("give a comparer, `sort(|x, y| x.loss - y.loss)`, or remove the other items with `filter`")
    };
    if array.len() < 2 {
        return Ok(array.clone());
    }
    if let Some(odd) = array.iter().find(|item| !comparable(item)) {
        return Err(mixed(odd, odd));
    }
    if let Some(odd) = array.iter().find(|item| order_of(&array[0], item).is_none()) {
        return Err(mixed(&array[0], odd));
    }
    let ordered = sorted(array, &mut |x, y| {
        let wanted = if descending { Ordering::Greater } else { Ordering::Less };
        Ok(order_of(x, y) == Some(wanted))
    });
    // The comparison above cannot fail.
    Ok(ordered.unwrap_or_default())
}

fn comparable(x: &Dynamic) -> bool {
    order_of(x, x).is_some()
}

/// How two plain values compare; None if they cannot be compared.
fn order_of(x: &Dynamic, y: &Dynamic) -> Option<Ordering> {
    if let (Ok(x), Ok(y)) = (x.as_int(), y.as_int()) {
        return Some(x.cmp(&y));
    }
    if let (Some(x), Some(y)) = (value::number(x), value::number(y)) {
        return x.partial_cmp(&y);
    }
    if let (Ok(x), Ok(y)) = (x.as_bool(), y.as_bool()) {
        return Some(x.cmp(&y));
    }
    let text = |x: &Dynamic| (x.is_string() || x.is_char()).then(|| x.to_string());
    match (text(x), text(y)) {
        (Some(x), Some(y)) => Some(x.cmp(&y)),
        _ => (x.is_unit() && y.is_unit()).then_some(Ordering::Equal),
    }
}

/// A stable merge sort that stops at the first error and tolerates inconsistent comparers, at which the standard library's may panic.
fn sorted(array: &Array, before: &mut dyn FnMut(&Dynamic, &Dynamic) -> Fallible<bool>) -> Fallible<Array> {
    let order = merged((0..array.len()).collect(), &mut |i: usize, j: usize| before(&array[i], &array[j]))?;
    Ok(order.into_iter().map(|i| array[i].clone()).collect())
}

fn merged(mut left: Vec<usize>, before: &mut dyn FnMut(usize, usize) -> Fallible<bool>) -> Fallible<Vec<usize>> {
    if left.len() < 2 {
        return Ok(left);
    }
    let right = left.split_off(left.len() / 2);
    let (left, right) = (merged(left, before)?, merged(right, before)?);
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(&i), Some(&j)) = (l.peek(), r.peek()) {
        // Of equal items the left one goes first: a right one is taken only if it comes before.
        if before(j, i)? {
            all.extend(r.next());
        } else {
            all.extend(l.next());
        }
    }
    all.extend(l.chain(r));
    Ok(all)
}
