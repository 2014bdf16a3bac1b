//! train.log in RVC's line format: time, name, level and message between tabs (spec F.11).
//!
//! Departure: RVC caps loss_mel at 75 and loss_kl at 9 when it prints them; here they are not capped.

use crate::train::python;
use crate::{Error, Result, files};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The losses that a line of train.log shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub disc: f64,
    pub gen_: f64,
    pub fm: f64,
    pub mel: f64,
    pub kl: f64,
}

/// An open train.log.
pub struct TrainLog {
    file: File,
    path: PathBuf,
    name: String,
}

impl TrainLog {
    /// Opens logs/<voice>/train.log to append; `name` is the voice. A line cut short by a crash is ended first.
    ///
    /// Errors: `file.write`.
    pub fn open(logs: &Path, name: &str) -> Result<Self> {
        files::create_folder(logs)?;
        let path = logs.join("train.log");
        let error = |e| Error::io("write", &path, e);
        let mut file = File::options().create(true).read(true).append(true).open(&path).map_err(error)?;
        if file.seek(SeekFrom::End(0)).map_err(error)? > 0 {
            file.seek(SeekFrom::End(-1)).map_err(error)?;
            let mut last = [0u8];
            file.read_exact(&mut last).map_err(error)?;
            if last[0] != b'\n' {
                file.write_all(b"\n").map_err(error)?;
            }
        }
        Ok(Self { file, path, name: name.to_owned() })
    }

    /// Appends one whole line. Errors: `file.write`, `file.disk_full`.
    pub fn line(&mut self, message: &str) -> Result<()> {
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f");
        let line = format!("{now}\t{}\tINFO\t{message}\n", self.name);
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io("write", &self.path, e))
    }

    /// The settings as a Python dict: RVC's web page reads it from the first line.
    pub fn settings(&mut self, settings: &Value) -> Result<()> {
        self.line(&python::repr(settings))
    }

    /// The three lines of a step.
    pub fn step(&mut self, epoch: i64, percent: f64, step: i64, learning_rate: f64, losses: Shown) -> Result<()> {
        self.line(&format!("Train Epoch: {epoch} [{percent:.0}%]"))?;
        self.line(&format!("[{step}, {}]", python::float(learning_rate)))?;
        let Shown { disc, gen_, fm, mel, kl } = losses;
        self.line(&format!(
            "loss_disc={disc:.3}, loss_gen={gen_:.3}, loss_fm={fm:.3},loss_mel={mel:.3}, loss_kl={kl:.3}"
        ))
    }

    /// The line at the end of an epoch.
    pub fn epoch(&mut self, epoch: i64, took: Duration) -> Result<()> {
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        self.line(&format!("====> Epoch: {epoch} [{now}] | ({})", elapsed(took)))
    }
}

/// Python's `str(timedelta)`: 0:00:01.500000.
fn elapsed(took: Duration) -> String {
    let seconds = took.as_secs();
    let days = match seconds / 86400 {
        0 => String::new(),
        1 => "1 day, ".into(),
        n => format!("{n} days, "),
    };
    let micros = match took.subsec_micros() {
        0 => String::new(),
        n => format!(".{n:06}"),
    };
    format!("{days}{}:{:02}:{:02}{micros}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_python() {
        assert_eq!(elapsed(Duration::from_millis(61_500)), "0:01:01.500000");
        assert_eq!(elapsed(Duration::from_secs(90_061)), "1 day, 1:01:01");
    }

    #[test]
    fn lines_have_the_references_form() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.log"), "torn").unwrap();
        let mut log = TrainLog::open(folder.path(), "anna").unwrap();
        let losses = Shown { disc: 3.0, gen_: 2.5, fm: 10.0, mel: 133.7886, kl: 285.5 };
        log.step(2, 49.6, 200, 9.99875e-5, losses).unwrap();
        let text = std::fs::read_to_string(folder.path().join("train.log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "torn");
        let tails: Vec<&str> = lines[1..].iter().map(|line| line.split_once('\t').unwrap().1).collect();
        assert_eq!(tails[0], "anna\tINFO\tTrain Epoch: 2 [50%]");
        assert_eq!(tails[1], "anna\tINFO\t[200, 9.99875e-05]");
        assert_eq!(
            tails[2],
            "anna\tINFO\tloss_disc=3.000, loss_gen=2.500, loss_fm=10.000,loss_mel=133.789, loss_kl=285.500"
        );
        let time = lines[1].split('\t').next().unwrap();
        assert!(time.len() == 23 && time.as_bytes()[19] == b',', "{time}");
    }
}
