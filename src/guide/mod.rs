//! The guides: one topic each, Markdown files beside this one. They are read on the web as files and in the program, where links are commands, by
//! `rvc-run guide TOPIC`; tests/guide.rs tries their commands and examples.

use crate::error::nearest;
use crate::{Error, Kind, Result};

/// A guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guide {
    /// What `rvc-run guide` takes: the name of the file without ".md".
    pub topic: &'static str,
    /// Markdown: a title, a paragraph of one sentence, the rest.
    pub text: &'static str,
}

/// All guides, in the order in which a newcomer needs them. tests/guide.rs compares them with the folder.
pub const GUIDES: &[Guide] = &[
    Guide { topic: "install", text: include_str!("install.md") },
    Guide { topic: "commands", text: include_str!("commands.md") },
    Guide { topic: "workspace", text: include_str!("workspace.md") },
    Guide { topic: "pretrained", text: include_str!("pretrained.md") },
    Guide { topic: "clips", text: include_str!("clips.md") },
    Guide { topic: "training", text: include_str!("training.md") },
    Guide { topic: "tracking", text: include_str!("tracking.md") },
    Guide { topic: "converting", text: include_str!("converting.md") },
    Guide { topic: "index", text: include_str!("index.md") },
    Guide { topic: "sweeps", text: include_str!("sweeps.md") },
    Guide { topic: "recipes", text: include_str!("recipes.md") },
    Guide { topic: "cache", text: include_str!("cache.md") },
    Guide { topic: "migrating", text: include_str!("migrating.md") },
    Guide { topic: "troubleshooting", text: include_str!("troubleshooting.md") },
    Guide { topic: "glossary", text: include_str!("glossary.md") },
];

impl Guide {
    /// The sentence below the title.
    pub fn summary(&self) -> &'static str {
        self.text.split("\n\n").nth(1).unwrap_or_default().trim()
    }

    /// The text for a terminal, where no file of the source is at hand: a link to a guide is the command that prints it, a link to the web its words and
    /// its address, any other link its words.
    pub fn in_terminal(&self) -> String {
        let mut fenced = false;
        let lines = self.text.lines().map(|line| {
            fenced ^= line.starts_with("```");
            if fenced { line.to_owned() } else { without_links(line) }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn without_links(line: &str) -> String {
    let (mut made, mut rest) = (String::new(), line);
    while let Some((before, words, target, behind)) = link(rest) {
        made.push_str(before);
        made.push_str(&said(words, target));
        rest = behind;
    }
    made + rest
}

/// The first link of a line: what stands before it, its words, where it leads, what stands behind it.
fn link(line: &str) -> Option<(&str, &str, &str, &str)> {
    let (head, tail) = line.split_once("](")?;
    let (target, behind) = tail.split_once(')')?;
    let (before, words) = head.rsplit_once('[')?;
    Some((before, words, target, behind))
}

/// A link in a terminal.
fn said(words: &str, target: &str) -> String {
    let file = target.split('#').next().unwrap_or_default();
    let topic = file.strip_suffix(".md").filter(|name| GUIDES.iter().any(|guide| guide.topic == *name));
    match topic {
        Some(topic) if words.eq_ignore_ascii_case(topic) => format!("`rvc-run guide {topic}`"),
        Some(topic) => format!("{words} (`rvc-run guide {topic}`)"),
        None if target.starts_with("https://") => format!("{words} ({target})"),
        None => words.to_owned(),
    }
}

/// The guide on `topic`; "clips.md", as links name it, is "clips".
///
/// Errors: `usage` with the nearest topic, or with all of them.
pub fn find(topic: &str) -> Result<Guide> {
    let name = topic.strip_suffix(".md").unwrap_or(topic);
    if let Some(guide) = GUIDES.iter().find(|guide| guide.topic == name) {
        return Ok(*guide);
    }
    let error = Error::new(Kind::Usage, format!("there is no guide {topic:?}"));
    let topics = GUIDES.iter().map(|guide| guide.topic);
    Err(match nearest(name, topics.clone()) {
        Some(known) => error.hint(format!("did you mean {known:?}?")),
        None => error.hint(format!("topics are: {}", topics.collect::<Vec<_>>().join(", "))),
    })
}
