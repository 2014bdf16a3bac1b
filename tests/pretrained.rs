//! The whole flow with the common pretrained files: full-size synthetic ones in their own formats, on the quickstart's speech.

use crate::support::pretrained;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HUBERT: &str = "hubert_base.pt";
const RMVPE: &str = "rmvpe.pt";
const G: &str = "pretrained_v2/f0G40k.pth";
const D: &str = "pretrained_v2/f0D40k.pth";

/// A workspace with the four files that train_voice needs, and a recording of the quickstart.
struct Workspace(tempfile::TempDir);

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Workspace {
    fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        pretrained::hubert_base(&workspace.asset(HUBERT));
        pretrained::rmvpe(&workspace.asset(RMVPE));
        pretrained::base(&workspace.asset(G), "G_v2_f0_40k");
        pretrained::base(&workspace.asset(D), "D_v2");
        let data = workspace.0.path().join("data/anna");
        std::fs::create_dir_all(&data).unwrap();
        let recordings = std::fs::read_dir(checkout("recipes/quickstart/anna")).unwrap();
        let first =
            recordings.map(|entry| entry.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "flac")).min();
        std::fs::copy(first.unwrap(), data.join("a.flac")).unwrap();
        workspace
    }

    fn asset(&self, name: &str) -> PathBuf {
        self.0.path().join("assets").join(name)
    }

    fn train(&self, more: &[&str]) -> Output {
        let recipe = checkout("recipes/train_voice.rhai");
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rvc-run"));
        command.arg("--workspace").arg(self.0.path()).arg(recipe).args(["anna", "--epochs", "1"]);
        // Few, short steps: this test only shows that the files are used.
        command.args(["--batch-size", "8", "--segment-size", "3200"]).args(more).output().unwrap()
    }

    /// Trains, which must fail with this code and name this file, before any work.
    #[track_caller]
    fn refused(&self, code: &str, file: &str, more: &[&str]) {
        let output = self.train(more);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("error[{code}]")) && text.contains(file), "{code} {file}: {text}");
        assert!(!self.0.path().join("logs").exists(), "{file}: nothing was started");
    }
}

#[test]
#[ignore = "slow: full-size networks, 15 processes"]
fn train_voice_uses_all_four_files_and_refuses_each_wrong_one_before_any_work() {
    let workspace = Workspace::new();
    let names = [HUBERT, RMVPE, G, D];
    for name in names {
        let path = workspace.asset(name);
        let whole = std::fs::read(&path).unwrap();
        // A missing file: the command that fetches it.
        std::fs::remove_file(&path).unwrap();
        workspace.refused("asset.missing", &format!("rvc-run assets fetch {name}"), &[]);
        // Half of it, and one flipped bit in the weights.
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        workspace.refused("checkpoint.damaged", name, &[]);
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        workspace.refused("checkpoint.damaged", name, &[]);
        // Another file in its place.
        let other = workspace.asset(if name == RMVPE { D } else { RMVPE });
        std::fs::copy(other, &path).unwrap();
        workspace.refused("checkpoint.mismatch", name, &[]);
        std::fs::write(&path, whole).unwrap();
    }

    let output = workspace.train(&[]);
    let text = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("extracted with rmvpe") && text.contains("encoded with hubert_base"), "{text}");
    assert!(text.contains("starting from") && text.contains("f0G40k.pth") && text.contains("f0D40k.pth"), "{text}");
    let logs = workspace.0.path().join("logs/anna");
    let manifest = std::fs::read_to_string(logs.join("checkpoint_1.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let sha = |name: &str| rvc_run::files::digest_file(&workspace.asset(name)).unwrap();
    assert_eq!(manifest["base"]["g"]["sha256"], sha(G));
    assert_eq!(manifest["base"]["d"]["sha256"], sha(D));
    let content = manifest["content_digest"].as_str().unwrap();
    assert!(content.starts_with("hubert-1 ") && content.ends_with(" v2 fp32"), "{content}");
    let voice = rvc_run::torchfile::read(&workspace.0.path().join("models/anna.pth")).unwrap();
    assert_eq!(voice.text(&["content_digest"]), Some(content));
    let metadata = std::fs::read_to_string(logs.join("cache_metadata.json")).unwrap();
    assert!(metadata.contains(&sha(RMVPE)), "the digest of rmvpe.pt is on record");

    // A resumed training needs no base, but the clips' encoder.
    std::fs::remove_file(workspace.asset(G)).unwrap();
    let output = workspace.train(&["--epochs", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let feature = std::fs::read_dir(logs.join("3_feature768")).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&feature).unwrap();
    let other = workspace.train(&["--content-encoder", "mel"]);
    let text = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(1), "{text}");
    assert!(text.contains("checkpoint.mismatch") && text.contains("mel-1"), "{text}");
    assert!(std::fs::read(&feature).unwrap() == before, "refused before any work: the features are unchanged");
}
