//! Finds libtorch, and fetches it if it is missing.

use crate::Outcome;
use crate::fetch;
use crate::libtorch::{Libtorch, compiler_is_here, from_checkout, from_python, from_variable, pythons};
use std::path::Path;

/// The first libtorch of the four places; fetches it if no other has one.
pub fn find(checkout: &Path) -> Outcome<Libtorch> {
    let found = match std::env::var_os("LIBTORCH").filter(|value| !value.is_empty()) {
        Some(given) => from_variable(Path::new(&given))?,
        None => match from_checkout(checkout)? {
            Some(found) => found,
            None => match from_python(checkout, &pythons()) {
                Some(found) => found,
                None => fetch::fetch(checkout, fetch::set_for_this_machine(), false)?,
            },
        },
    };
    compiler_is_here()?;
    Ok(found)
}
