//! Functions that build large values before Rhai checks its limits, replaced by ones that check the limit first.

use super::{At, Fallible};
use crate::{Error, Kind};
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

#[export_module]
pub mod api {
    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace(ctx: NativeCallContext, text: &mut ImmutableString, find: &str, by: &str) -> Fallible<()> {
        super::replace(&ctx, text, find, by)
    }

    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace_by_char(ctx: NativeCallContext, text: &mut ImmutableString, find: &str, by: char) -> Fallible<()> {
        super::replace(&ctx, text, find, by.encode_utf8(&mut [0; 4]))
    }

    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace_char(ctx: NativeCallContext, text: &mut ImmutableString, find: char, by: &str) -> Fallible<()> {
        super::replace(&ctx, text, find.encode_utf8(&mut [0; 4]), by)
    }

    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace_chars(ctx: NativeCallContext, text: &mut ImmutableString, find: char, by: char) -> Fallible<()> {
        super::replace(&ctx, text, find.encode_utf8(&mut [0; 4]), by.encode_utf8(&mut [0; 4]))
    }

    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad(ctx: NativeCallContext, array: &mut Array, len: i64, item: Dynamic) -> Fallible<()> {
        let wanted = usize::try_from(len).unwrap_or(0);
        // Saturating: a length that does not fit in a number is above every limit.
        let entries = wanted.saturating_mul(super::entries(&item).saturating_add(1));
        super::within(&ctx, "an array", entries, ctx.engine().max_array_size())?;
        if wanted > array.len() {
            array.resize(wanted, item);
        }
        Ok(())
    }

    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_text(ctx: NativeCallContext, text: &mut ImmutableString, len: i64, by: &str) -> Fallible<()> {
        super::pad_text(&ctx, text, len, by)
    }

    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_text_by_char(ctx: NativeCallContext, text: &mut ImmutableString, len: i64, by: char) -> Fallible<()> {
        super::pad_text(&ctx, text, len, by.encode_utf8(&mut [0; 4]))
    }

    #[rhai_fn(name = "to_chars", return_raw)]
    pub fn to_chars(ctx: NativeCallContext, text: &str) -> Fallible<Array> {
        super::pieces(&ctx, text.chars().map(Dynamic::from))
    }

    #[rhai_fn(name = "split", return_raw, pure)]
    pub fn split_blanks(ctx: NativeCallContext, text: &mut ImmutableString) -> Fallible<Array> {
        super::pieces(&ctx, text.split_whitespace().map(super::text))
    }

    #[rhai_fn(name = "split", return_raw, pure)]
    pub fn split(ctx: NativeCallContext, text: &mut ImmutableString, by: &str) -> Fallible<Array> {
        super::pieces(&ctx, text.split(by).map(super::text))
    }

    #[rhai_fn(name = "split", return_raw, pure)]
    pub fn split_char(ctx: NativeCallContext, text: &mut ImmutableString, by: char) -> Fallible<Array> {
        super::pieces(&ctx, text.split(by).map(super::text))
    }

    #[rhai_fn(name = "split", return_raw, pure)]
    pub fn split_n(ctx: NativeCallContext, text: &mut ImmutableString, by: &str, parts: i64) -> Fallible<Array> {
        super::pieces(&ctx, text.splitn(super::parts(parts), by).map(super::text))
    }

    #[rhai_fn(name = "split", return_raw, pure)]
    pub fn split_n_char(ctx: NativeCallContext, text: &mut ImmutableString, by: char, parts: i64) -> Fallible<Array> {
        super::pieces(&ctx, text.splitn(super::parts(parts), by).map(super::text))
    }

    #[rhai_fn(name = "split_rev", return_raw, pure)]
    pub fn split_rev_n(ctx: NativeCallContext, text: &mut ImmutableString, by: &str, parts: i64) -> Fallible<Array> {
        super::pieces(&ctx, text.rsplitn(super::parts(parts), by).map(super::text))
    }

    #[rhai_fn(name = "split_rev", return_raw, pure)]
    pub fn split_rev_n_char(
        ctx: NativeCallContext,
        text: &mut ImmutableString,
        by: char,
        parts: i64,
    ) -> Fallible<Array> {
        super::pieces(&ctx, text.rsplitn(super::parts(parts), by).map(super::text))
    }

    #[rhai_fn(name = "split_rev", return_raw, pure)]
    pub fn split_rev(ctx: NativeCallContext, text: &mut ImmutableString, by: &str) -> Fallible<Array> {
        super::pieces(&ctx, text.rsplit(by).map(super::text))
    }

    #[rhai_fn(name = "split_rev", return_raw, pure)]
    pub fn split_rev_char(ctx: NativeCallContext, text: &mut ImmutableString, by: char) -> Fallible<Array> {
        super::pieces(&ctx, text.rsplit(by).map(super::text))
    }
}

fn text(piece: &str) -> Dynamic {
    Dynamic::from(ImmutableString::from(piece))
}

/// At most this many parts; like Rhai, values below 1 count as 1.
fn parts(parts: i64) -> usize {
    usize::try_from(parts.max(1)).unwrap_or(usize::MAX)
}

fn replace(ctx: &NativeCallContext, text: &mut ImmutableString, find: &str, by: &str) -> Fallible<()> {
    let grows = by.len().saturating_sub(find.len()).saturating_mul(if by.len() > find.len() {
        text.matches(find).count()
    } else {
        0
    });
    within(ctx, "a string", text.len().saturating_add(grows), ctx.engine().max_string_size())?;
    let replaced = text.replace(find, by);
    if replaced.as_str() != text.as_str() {
        *text = replaced.into();
    }
    Ok(())
}

/// Appends whole pieces until the string has `len` characters. Rhai would count all of them again for each piece, and never end with an empty piece.
fn pad_text(ctx: &NativeCallContext, text: &mut ImmutableString, len: i64, by: &str) -> Fallible<()> {
    let missing = usize::try_from(len).unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        return Ok(());
    }
    if by.is_empty() {
        return Err(Error::new(Kind::Script, "a string cannot be padded with an empty one")).at(ctx);
    }
    let pieces = missing.div_ceil(by.chars().count());
    within(
        ctx,
        "a string",
        text.len().saturating_add(pieces.saturating_mul(by.len())),
        ctx.engine().max_string_size(),
    )?;
    *text = format!("{text}{}", by.repeat(pieces)).into();
    Ok(())
}

/// The pieces as an array; none are made beyond the limit.
fn pieces(ctx: &NativeCallContext, pieces: impl Iterator<Item = Dynamic>) -> Fallible<Array> {
    let most = ctx.engine().max_array_size();
    let made: Array = pieces.take(most.saturating_add(1)).collect();
    within(ctx, "an array", made.len(), most)?;
    Ok(made)
}

/// Entries of arrays and maps in a value.
fn entries(value: &Dynamic) -> usize {
    if let Some(items) = value.read_lock::<Array>() {
        return items.iter().map(|item| 1 + entries(item)).sum();
    }
    value.read_lock::<Map>().map_or(0, |map| map.values().map(|item| 1 + entries(item)).sum())
}

fn within(ctx: &NativeCallContext, what: &str, size: usize, most: usize) -> Fallible<()> {
    if size <= most {
        return Ok(());
    }
    let unit = if what == "a string" { "bytes" } else { "entries" };
    Err(Error::new(Kind::Script, format!("{what} would have more than {most} {unit}"))
        .hint("scripts hold names and numbers; large data belongs in files"))
    .at(ctx)
}
