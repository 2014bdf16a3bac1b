//! Whether a file is a recording: by its name, or if that says nothing, by its first bytes.
//!
//! A recorder may write take1, take1.001 or take1.rec; a text, a picture or a project beside it is excluded by its name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Extensions of sound and of film. Only ffmpeg decodes some of them (wma, amr): without ffmpeg such files are reported, not silently
/// skipped.
const SOUND: &[&str] = &[
    "wav", "wave", "bwf", "rf64", "w64", "flac", "mp3", "mp2", "mp1", "mpa", "mpga", "m4a", "m4b", "m4r", "mp4", "m4v",
    "mov", "f4a", "f4v", "3gp", "3g2", "3ga", "aac", "adts", "loas", "ogg", "oga", "ogv", "ogx", "opus", "spx", "aif",
    "aiff", "aifc", "mka", "mkv", "webm", "weba", "caf", "wma", "wmv", "asf", "avi", "flv", "mpg", "mpeg", "vob",
    "mts", "m2ts", "amr", "awb", "ac3", "eac3", "dts", "mlp", "thd", "ape", "wv", "tta", "tak", "mpc", "shn", "dsf",
    "dff", "au", "snd", "voc", "sph", "oma", "aa3", "ra", "rm", "qcp", "dss", "nut", "g722", "722", "g729", "gsm",
    "sln",
];

/// Extensions of files that people keep beside recordings: texts, lists, pictures, archives, models, programs, projects and their
/// sidecars, incomplete downloads.
const OTHER: &[&str] = &[
    "txt",
    "md",
    "rst",
    "log",
    "json",
    "jsonl",
    "yaml",
    "yml",
    "toml",
    "ini",
    "cfg",
    "conf",
    "csv",
    "tsv",
    "xml",
    "html",
    "htm",
    "pdf",
    "doc",
    "docx",
    "rtf",
    "odt",
    "xls",
    "xlsx",
    "srt",
    "vtt",
    "ass",
    "lrc",
    "lab",
    "textgrid",
    "eaf",
    "trs",
    "nfo",
    "url",
    "lnk",
    "cue",
    "m3u",
    "m3u8",
    "pls",
    "xspf",
    "ffconcat",
    "jpg",
    "jpeg",
    "png",
    "gif",
    "bmp",
    "webp",
    "svg",
    "tif",
    "tiff",
    "ico",
    "heic",
    "avif",
    "psd",
    "zip",
    "rar",
    "7z",
    "gz",
    "tgz",
    "tar",
    "bz2",
    "xz",
    "zst",
    "pth",
    "pt",
    "ckpt",
    "safetensors",
    "onnx",
    "index",
    "npy",
    "npz",
    "pkl",
    "h5",
    "py",
    "ipynb",
    "sh",
    "bat",
    "ps1",
    "rs",
    "rhai",
    "js",
    "exe",
    "dll",
    "so",
    "db",
    "sqlite",
    "mid",
    "midi",
    "reapeaks",
    "asd",
    "pkf",
    "sfk",
    "sfl",
    "ovw",
    "aup",
    "aup3",
    "rpp",
    "als",
    "flp",
    "sesx",
    "ptx",
    "part",
    "partial",
    "crdownload",
    "download",
    "tmp",
    "temp",
    "bak",
    "torrent",
];

/// Bytes read from the beginning: two consecutive frames of MP3 or AAC.
const START: u64 = 8192;

/// Whether a file counts as a recording. Hidden files do not (macOS leaves `._name.wav` files).
pub(super) fn is_recording(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if name.starts_with(b".") {
        return false;
    }
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).unwrap_or_default();
    if SOUND.contains(&ending.as_str()) {
        return true;
    }
    !OTHER.contains(&ending.as_str()) && begins_as_sound(path)
}

fn begins_as_sound(path: &Path) -> bool {
    // Checked first: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).is_ok_and(|about| about.is_file()) {
        return false;
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START).read_to_end(&mut start));
    read.is_ok() && is_sound(&start)
}

/// Markers at the very beginning of a file, each of which identifies one format.
const MARKS: &[&[u8]] = &[
    b"fLaC",
    b"OggS",
    b"ID3",
    b"caff",
    b".snd",
    b"MAC ",
    b"wvpk",
    b"#!AMR",
    b"MP+",
    b"MPCK",
    b"TTA1",
    b"tBaK",
    b"DSD ",
    b"NIST_1A",
    b"Creative Voice File",
    b"\x02dss",
    b"\x03dss",
    b".RMF",
    b".ra\xfd",
    b"FLV\x01",
    b"ajkg",
    b"ea3\x03",
    b"EA3\x01",
    b".SoX",
    b"XoS.",
    b"nut/multimedia container",
    b"FRM8",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"\x1a\x45\xdf\xa3",
    b"\0\0\x01\xba",
    b"\x7f\xfe\x80\x01",
    b"riff\x2e\x91\xcf\x11",
];

/// Whether a file with this beginning is sound, or film, which has sound too.
fn is_sound(start: &[u8]) -> bool {
    let at = |place: usize, mark: &[u8]| start.get(place..place + mark.len()) == Some(mark);
    let any = |place: usize, marks: &[&[u8]]| marks.iter().any(|mark| at(place, mark));
    let every = |first: usize, step: usize| (0..3).all(|i| start.get(first + i * step) == Some(&0x47));
    MARKS.iter().any(|mark| at(0, mark))
        || any(0, &[b"RIFF", b"RIFX", b"RF64", b"BW64"]) && any(8, &[b"WAVE", b"AVI ", b"QLCM", b"RMP3"])
        || at(0, b"FORM") && any(8, &[b"AIFF", b"AIFC", b"8SVX", b"16SV"])
        || at(4, b"ftyp") && !any(8, &[b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"])
        || any(4, &[b"moov", b"mdat", b"wide"])
        // Broadcast packets, plain and with a time before each.
        || every(0, 188)
        || every(4, 192)
        || two_frames(start, mpeg_frame)
        || two_frames(start, adts_frame)
}

/// Whether the file begins with a frame and another follows directly.
fn two_frames(start: &[u8], size: fn(&[u8]) -> Option<usize>) -> bool {
    let next = size(start).and_then(|size| start.get(size..));
    next.is_some_and(|next| size(next).is_some())
}

/// The size of a frame of MPEG audio in bytes, layer 2 or 3, by its header (ISO 11172-3, 13818-3).
fn mpeg_frame(start: &[u8]) -> Option<usize> {
    const LAYER_3: [usize; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const LAYER_2: [usize; 15] = [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
    const LOWER: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let [0xff, second, third, ..] = *start else { return None };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    let (is_first, is_layer_3) = (version == 3, layer == 1);
    if second >> 5 != 7 || version == 1 || !(1..=2).contains(&layer) {
        return None;
    }
    let rates = if is_first && is_layer_3 {
        LAYER_3
    } else if is_first {
        LAYER_2
    } else {
        LOWER
    };
    let kilobits = *rates.get(usize::from(third >> 4)).filter(|rate| **rate > 0)?;
    let halved = match version {
        3 => 1,
        2 => 2,
        _ => 4,
    };
    let hz = *[44100, 48000, 32000].get(usize::from(third >> 2 & 3))? / halved;
    let samples = if is_layer_3 && !is_first { 576 } else { 1152 };
    Some(samples / 8 * kilobits * 1000 / hz + usize::from(third >> 1 & 1))
}

/// The size of a frame of AAC in bytes, by its ADTS header (ISO 13818-7).
fn adts_frame(start: &[u8]) -> Option<usize> {
    let [0xff, second, third, fourth, fifth, sixth, ..] = *start else { return None };
    if second & 0xf6 != 0xf0 || third >> 2 & 15 > 12 {
        return None;
    }
    let size = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
    Some(size).filter(|size| *size > 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_extension_decides() {
        for name in ["a.wav", "a.G722", "b.MKV", "c.avi", "d.sln", "e f.Opus", "名前.flac"] {
            assert!(is_recording(Path::new(name)), "{name}");
        }
        for name in [".a.wav", "._a.wav", "a.txt", "a.png", "a.mp3.part", "a.wav.reapeaks", "gone", "gone.rec", ""] {
            assert!(!is_recording(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn an_unknown_extension_is_decided_by_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let mp3 = [&[0xff, 0xfb, 0x90, 0x64][..], &[7; 413], &[0xff, 0xfb, 0x90, 0x64], &[7; 100]].concat();
        let aac =
            [&[0xff, 0xf1, 0x50, 0x80, 0x0c, 0x9f, 0xfc][..], &[3; 93], &[0xff, 0xf1, 0x50, 0x80, 0x0c, 0x9f, 0xfc]]
                .concat();
        let mut broadcast = vec![1u8; 600];
        (0..4).for_each(|i| broadcast[i * 188] = 0x47);
        for (name, content) in [
            ("take1", &b"RIFF\x24\0\0\0WAVEfmt "[..]),
            ("take1.001", b"RIFF\x24\0\0\0AVI LIST"),
            ("take1.rec", b"fLaC\0\0\0\x22"),
            ("take1.dat", b"\0\0\0\x20ftypM4A \0\0\0\0"),
            ("take", &mp3),
            ("take.bin", &aac),
            ("take.ts", &broadcast),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
            assert!(is_recording(&folder.path().join(name)), "{name}");
        }
        for (name, content) in [
            ("LICENSE", &b"Permission is hereby granted"[..]),
            ("page.ts", b"export const x = 1;\nGGGGG"),
            ("photo", b"\0\0\0\x20ftypheic\0\0\0\0"),
            ("empty", b""),
            ("one_frame", &mp3[..417]),
            ("bytes.bin", &[0xff; 4000]),
            ("sound.txt", b"RIFF\x24\0\0\0WAVEfmt "),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
            assert!(!is_recording(&folder.path().join(name)), "{name}");
        }
        assert!(!is_recording(folder.path()));
    }
}
