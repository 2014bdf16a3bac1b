//! Recognises a file of the wrong kind by its content, never by its name, for messages with a hint.
//!
//! ```text
//! no_torch, no_index    bytes at the beginning -> a web page, a zip with a .pth in it, an index, a recording, ...
//! network               names of tensors       -> a D_ checkpoint, a HuBERT, a voice of so-vits-svc, ...
//! ```
//!
//! Readers call this after their own attempt has failed, so a file that they can read is never rejected.

use crate::{Error, Kind};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Most bytes that are read.
const HEAD: u64 = 64 << 10;
/// Most entries of a zip that are read.
const ENTRIES: usize = 64;
/// Most characters of a text that are quoted.
const QUOTED: usize = 40;

/// Kinds that some reader can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    PyTorch,
    Index,
    Other,
}

/// The recognised kind of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// With its verb: "is a web page (HTML)".
    pub says: String,
    /// What to do next.
    pub hint: String,
    what: What,
}

impl Found {
    fn new(says: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { says: says.into(), hint: hint.into(), what: What::Other }
    }

    /// The error of a file where `wanted` ("a voice") is needed.
    pub fn refused(self, kind: Kind, path: &Path, wanted: &str) -> Error {
        Error::new(kind, format!("{} {}, but {wanted} is needed", path.display(), self.says)).path(path).hint(self.hint)
    }
}

const VOICE: &str = "give a voice: the small .pth that RVC WebUI, Applio or rvc-run export after training";
const AGAIN: &str = "download or copy it again";

/// The kind of a file that is not a PyTorch file, by its first bytes; None if it is unknown or unreadable.
pub fn no_torch(path: &Path) -> Option<Found> {
    file(path).filter(|found| found.what != What::PyTorch)
}

/// The same for a file that is not a retrieval index.
pub fn no_index(path: &Path) -> Option<Found> {
    file(path).filter(|found| found.what != What::Index)
}

fn file(path: &Path) -> Option<Found> {
    // Opening a pipe would wait for its writer.
    path.is_file().then_some(())?;
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut head = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut head).ok()?;
    if head.is_empty() {
        return Some(Found::new("is empty", format!("its copy or download failed; {AGAIN}")));
    }
    if head.iter().all(|byte| *byte == 0) {
        let bytes = head.len();
        let says =
            if bytes as u64 == length { "holds only zeros".into() } else { format!("begins with {bytes} zeros") };
        return Some(Found::new(says, format!("it was reserved on the disk but never written; {AGAIN}")));
    }
    if head.starts_with(b"PK") {
        return zip(&mut file, &head);
    }
    packed(&head)
        .or_else(|| weights(&head, length))
        .or_else(|| recording(&head))
        .or_else(|| other(&head))
        .or_else(|| text(&head))
}

fn starts(head: &[u8], any: &[&[u8]]) -> bool {
    any.iter().any(|start| head.starts_with(start))
}

/// Recognises a zip by the names of its entries, which precede each of them.
fn zip(file: &mut File, head: &[u8]) -> Option<Found> {
    if head.starts_with(b"PK\x05\x06") {
        return Some(Found::new("is an empty zip archive", AGAIN));
    }
    let names = entries(file);
    if names.iter().any(|name| name.ends_with("data.pkl")) {
        let hint = "give the .index that belongs to it, added_IVF<n>_..., or none";
        return Some(Found { what: What::PyTorch, ..Found::new("is a PyTorch file, such as a voice", hint) });
    }
    let inside = names.iter().find(|name| Path::new(name).extension().is_some_and(|end| end == "pth"));
    Some(match (inside, names.first()) {
        (Some(inside), _) => Found::new(
            format!("is a zip archive with {} in it", shown(inside)),
            format!("unpack it and give the {} from it", shown(inside)),
        ),
        // A recognisable entry may come later.
        (None, _) if names.len() == ENTRIES => return None,
        (None, Some(first)) => Found::new(format!("is a zip archive of other files, such as {}", shown(first)), VOICE),
        (None, None) => return None,
    })
}

fn entries(file: &mut File) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0u64;
    while names.len() < ENTRIES {
        let mut header = [0; 30];
        if file.seek(SeekFrom::Start(at)).is_err()
            || file.read_exact(&mut header).is_err()
            || !header.starts_with(b"PK\x03\x04")
        {
            break;
        }
        let short = |from: usize| u64::from(u16::from_le_bytes([header[from], header[from + 1]]));
        let packed = u64::from(u32::from_le_bytes([header[18], header[19], header[20], header[21]]));
        let mut name = Vec::new();
        if file.take(short(26)).read_to_end(&mut name).is_err() {
            break;
        }
        names.push(String::from_utf8_lossy(&name).into_owned());
        let Some(next) = at.checked_add(30 + short(26) + short(28) + packed) else { break };
        at = next;
    }
    names
}

/// Archives.
fn packed(head: &[u8]) -> Option<Found> {
    let name = match head {
        _ if starts(head, &[b"7z\xBC\xAF\x27\x1C"]) => "a 7-Zip archive",
        _ if starts(head, &[b"Rar!\x1A\x07"]) => "a RAR archive",
        _ if starts(head, &[b"\x1F\x8B"]) => "a gzip archive",
        _ if starts(head, &[b"BZh"]) => "a bzip2 archive",
        _ if starts(head, &[b"\xFD7zXZ\0"]) => "an xz archive",
        _ if starts(head, &[b"\x28\xB5\x2F\xFD"]) => "a zstd archive",
        _ => return None,
    };
    Some(Found::new(format!("is {name}"), "unpack it and give the file from it"))
}

/// Weights and numbers in other formats.
fn weights(head: &[u8], length: u64) -> Option<Found> {
    let header = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    if header.is_some_and(|n| n >= 2 && n <= length.saturating_sub(8)) && head.get(8) == Some(&b'{') {
        let hint =
            "save it as a .pth in the program that it comes from, with torch.save of the same dictionary as in a voice";
        return Some(Found::new("holds weights in the safetensors format", hint));
    }
    // FAISS names a kind of index by four letters: Ix.. flat ones, Iw.. those with lists, IHN. graphs.
    if starts(
        head,
        &[
            b"IwFl", b"IwPQ", b"IwSq", b"IwQR", b"IvFl", b"IxF2", b"IxFI", b"IxFl", b"IxPT", b"IxPq", b"IxM", b"IHN",
            b"IxRF",
        ],
    ) {
        let hint = "give it with --index, and here the .pth that belongs to it";
        return Some(Found { what: What::Index, ..Found::new("is a retrieval index (FAISS)", hint) });
    }
    // A protocol buffer: the format's version as field 1, then the producer's name as field 2.
    if let [0x08, 1..=20, 0x12, n, name @ ..] = head
        && name
            .get(..usize::from(*n))
            .is_some_and(|name| !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() || *b == b' '))
    {
        return Some(Found::new(
            "is an ONNX network",
            "give the .pth that it was made from; rvc-run does not read ONNX files",
        ));
    }
    let name = match head {
        _ if starts(head, &[b"\x93NUMPY"]) => "a NumPy array",
        _ if starts(head, &[b"GGUF"]) => "a network in the GGUF format",
        _ if starts(head, &[b"\x89HDF\r\n\x1A\n"]) => "an HDF5 file",
        _ => return None,
    };
    Some(Found::new(format!("is {name}"), VOICE))
}

/// Sound and video.
fn recording(head: &[u8]) -> Option<Found> {
    let name = match head {
        [b'R', b'I', b'F', b'F' | b'X', _, _, _, _, b'W', b'A', b'V', b'E', ..] | [b'R', b'F', b'6', b'4', ..] => "WAV",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', ..] => "AVI",
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', ..] => "AIFF",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "MP4",
        _ if starts(head, &[b"fLaC"]) => "FLAC",
        _ if starts(head, &[b"OggS"]) => "Ogg",
        _ if starts(head, &[b"caff"]) => "CAF",
        _ if starts(head, &[b"\x1A\x45\xDF\xA3"]) => "WebM or Matroska",
        _ if starts(head, &[b"ID3", b"\xFF\xFB", b"\xFF\xF3", b"\xFF\xF2"]) => "MP3",
        _ => return None,
    };
    Some(Found::new(
        format!("is a recording ({name})"),
        "the voice comes first, then the recording: `rvc-run convert VOICE RECORDING`",
    ))
}

/// Other binary files.
fn other(head: &[u8]) -> Option<Found> {
    let name = match head {
        _ if starts(head, &[b"\x89PNG", b"\xFF\xD8\xFF", b"GIF8", b"BM"]) => "a picture",
        _ if starts(head, &[b"%PDF"]) => "a PDF document",
        _ if starts(head, &[b"\x7FELF", b"MZ"]) => "a program",
        _ if starts(head, &[b"SQLite format 3"]) => "a database",
        _ => return None,
    };
    Some(Found::new(format!("is {name}"), VOICE))
}

/// Texts: a server's answer instead of a file, and pointers to files in a repository.
fn text(head: &[u8]) -> Option<Found> {
    let utf16 = starts(head, &[b"\xFF\xFE", b"\xFE\xFF"]);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        Err(_) if utf16 => return Some(Found::new("is a text file", VOICE)),
        Err(_) => return None,
    };
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0C' | '\x1B')) {
        return None;
    }
    let text = text.trim_start_matches('\u{FEFF}').trim_start();
    let begins = |start: &str| text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    if begins("version https://git-lfs.github.com") {
        return Some(Found::new(
            "is a Git LFS pointer, not the file itself",
            "run `git lfs pull` in the repository, or download the file from its page",
        ));
    }
    if ["<!doctype html", "<html", "<head", "<body", "<script"].iter().any(|start| begins(start))
        || text.contains("<html")
    {
        return Some(Found::new(
            "is a web page (HTML)",
            "the server sent a page instead of the file; use the download link (on Hugging Face the one with /resolve/ instead of /blob/)",
        ));
    }
    let kind = match text.chars().next() {
        None => return Some(Found::new("holds only spaces and line breaks", AGAIN)),
        Some('<') => "is an XML text",
        Some('{' | '[') => "is a JSON text",
        Some(_) => "is a text",
    };
    let line: String = text.lines().next().unwrap_or_default().chars().take(QUOTED).collect();
    Some(Found::new(format!("{kind}, which begins with {}", shown(&line)), VOICE))
}

/// A foreign name in quotes, control characters escaped.
fn shown(text: &str) -> String {
    format!("{text:?}")
}

/// The kind of a network by the names of its tensors; None if it is not a kind that users have beside their voices.
///
/// `entries` are the keys of the file's root.
pub fn network(entries: &[String], names: &[&str]) -> Option<Found> {
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    let entry = |key: &str| entries.iter().any(|entry| entry == key);
    let asset =
        |what: &str| Found::new(format!("is {what}"), format!("put it into assets/, where rvc-run finds it; {VOICE}"));
    let foreign =
        |program: &str| Found::new(format!("is a voice of {program}"), format!("only {program} can use it; {VOICE}"));
    if has("enc_p.emb_phone.") {
        return generator(entry("iteration") || entry("optimizer"), has("enc_q."), names);
    }
    Some(if has("discriminators.0.") {
        Found::new(
            "is a D_ checkpoint, the discriminator of a training, which makes no sound",
            "give the G_ checkpoint beside it to `rvc-run voice_extract`, or the exported voice to convert",
        )
    } else if has("enc_p.ssl_proj.") || has("ref_enc.") || has("ar_text_embedding") {
        foreign("GPT-SoVITS")
    } else if has("enc_p.f0_emb.") || has("emb_uv.") || has("f0_decoder.") || has("enc_p.enc_.") {
        foreign("so-vits-svc")
    } else if has("enc_p.emb.") || has("dp.flows.") {
        foreign("so-vits-svc or VITS")
    } else if has("unit2ctrl.") || has("unit2mel.") || has("denoise_fn.") || has("naive_stack.") {
        foreign("DDSP-SVC or Diffusion-SVC")
    } else if has("feature_extractor.conv_layers.0.") {
        asset("a HuBERT, a content encoder")
    } else if has("unet.encoder.layers.0.") {
        asset("RMVPE, a pitch network")
    } else if has("input_stack.0.") && has("cent_table") {
        asset("FCPE, a pitch network")
    } else if has("conv1_BN.") && has("classifier.") {
        asset("CREPE, a pitch network")
    } else if has("stg1_low_band_net.") || has("band_split.") || has("mask_estimators.") {
        Found::new("is a network that separates voice from music", VOICE)
    } else if has("decoder.blocks.0.cross_attn.") || has("encoder.blocks.0.attn.") {
        Found::new("is Whisper, a network that transcribes speech", VOICE)
    } else if names == [""] {
        Found::new("holds a single tensor, such as the features of a clip", VOICE)
    } else if names.is_empty() {
        let keys: Vec<String> = entries.iter().take(5).map(|key| shown(key)).collect();
        let keys = if keys.is_empty() { String::new() } else { format!(", only the entries {}", keys.join(", ")) };
        Found::new(format!("holds no weights{keys}"), VOICE)
    } else {
        return None;
    })
}

/// A generator of RVC that is not an exported voice, or has another vocoder.
fn generator(trained: bool, whole: bool, names: &[&str]) -> Option<Found> {
    let exported = names.iter().any(|name| name.starts_with("weight."));
    if exported {
        return None;
    }
    Some(match (trained, whole) {
        (true, _) => Found::new(
            "is a G_ checkpoint, the generator of a training with its training state",
            "export its voice first: `rvc-run voice_extract G_FILE VOICE.pth`, or `rvc-run export NAME` for a voice trained here",
        ),
        (false, true) => Found::new(
            "is a base for trainings (pretrained G), not a voice",
            "train a voice from it (--pretrained-g); to hear it, run `rvc-run voice_extract FILE VOICE.pth`",
        ),
        (false, false) => Found::new(
            "holds the weights of a voice without a voice's entries",
            "`rvc-run voice_extract FILE VOICE.pth` adds them",
        ),
    })
}
