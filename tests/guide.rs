//! The pages that people read (README.md, the guides, the tables of recipes and of the standard library): whether they are in the program, whether
//! their links, commands, scripts and names are true, whether their words are plain.

#![cfg(unix)]

mod claims;
mod words;

use rvc_run::guide::{self, GUIDES};
use rvc_run::script::catalog;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder with this ending, sorted, as paths below the checkout.
fn files_of(folder: &str, ending: &str) -> Vec<PathBuf> {
    let listed = rvc_run::files::list(&checkout().join(folder)).unwrap();
    let files = listed.into_iter().filter(|path| path.extension().is_some_and(|e| e == ending));
    files.map(|path| path.strip_prefix(checkout()).unwrap().to_owned()).collect()
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(checkout().join(path)).unwrap()
}

/// The pages, as paths below the checkout.
fn pages() -> Vec<PathBuf> {
    let mut pages = files_of("src/guide", "md");
    pages.extend(["README.md", "recipes/README.md", "stdlib/README.md"].map(PathBuf::from));
    pages
}

/// Exit code and both outputs of the program in `folder`.
fn program(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output =
        command.env_remove("RVC_RUN_ASSETS").env("XDG_CACHE_HOME", folder.join("cache_home")).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), format!("{}{}", text(output.stdout), text(output.stderr)))
}

#[test]
fn the_program_holds_every_guide_of_the_folder() {
    let mut known: Vec<String> = GUIDES.iter().map(|guide| guide.topic.to_owned()).collect();
    known.sort();
    let there = files_of("src/guide", "md");
    let there: Vec<String> =
        there.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(known, there);
}

#[test]
fn every_guide_begins_with_a_title_and_one_sentence() {
    for guide in GUIDES {
        let title = guide.text.lines().next().unwrap_or_default();
        assert!(title.strip_prefix("# ").is_some_and(|title| !title.is_empty()), "{}: {title:?}", guide.topic);
        let summary = guide.summary();
        assert!(
            summary.ends_with('.') && !summary.contains('\n') && !summary.contains(". "),
            "{}: {summary}",
            guide.topic
        );
    }
}

#[test]
fn the_program_lists_and_prints_guides_and_names_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let (code, list) = program(folder.path(), &["guide"]);
    assert_eq!(code, 0, "{list}");
    assert_eq!(list.lines().count(), GUIDES.len());
    for (line, guide) in list.lines().zip(GUIDES) {
        assert!(line.starts_with(&format!("{} ", guide.topic)) && line.ends_with(guide.summary()), "{line}");
    }
    for topic in ["clips", "clips.md"] {
        let (code, text) = program(folder.path(), &["guide", topic]);
        assert_eq!((code, text.trim_end()), (0, guide::find("clips").unwrap().in_terminal().trim_end()));
    }
    let (code, text) = program(folder.path(), &["guide", "clps"]);
    assert_eq!(
        (code, text.as_str()),
        (2, "error[usage]: there is no guide \"clps\"\n  = hint: did you mean \"clips\"?\n")
    );
}

#[test]
fn a_guide_in_a_terminal_names_commands_not_files_of_the_source() {
    let guide = |text: &'static str| guide::Guide { topic: "clips", text }.in_terminal();
    assert_eq!(
        guide("See [tracking](tracking.md#a), or\n[the cache](cache.md)."),
        "See `rvc-run guide tracking`, or\nthe cache (`rvc-run guide cache`)."
    );
    assert_eq!(guide("[Rhai](https://rhai.rs), [tests](../../tests/a.rs)"), "Rhai (https://rhai.rs), tests");
    assert_eq!(
        guide("```sh\n[a](clips.md)\n```\n[b](clips.md)"),
        "```sh\n[a](clips.md)\n```\nb (`rvc-run guide clips`)"
    );
    for guide in GUIDES {
        let text = guide.in_terminal();
        for file in ["](", ".md", "src/", "tests/", "xtask/", "../.."] {
            let found = text.lines().find(|line| line.contains(file));
            assert_eq!(found, None, "{}: {file}", guide.topic);
        }
    }
}

/// The table of a folder's scripts as its README.md has it: a row for each, with the first line of its `//!` text.
fn table(folder: &str) -> String {
    let row = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy();
        format!("| [{name}]({name}.rhai) | {} |\n", catalog::summary(&text_of(path)))
    };
    files_of(folder, "rhai").iter().map(row).collect()
}

#[test]
fn the_tables_of_recipes_and_of_the_library_have_a_row_for_each_file() {
    for folder in ["recipes", "stdlib"] {
        let text = text_of(&Path::new(folder).join("README.md"));
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| [")).collect();
        let expected = table(folder);
        assert!(
            rows == expected.lines().collect::<Vec<_>>(),
            "the table of {folder}/README.md has to be\n\n{expected}"
        );
    }
}
