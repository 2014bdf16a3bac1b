//! `cargo xtask`: finds or fetches libtorch, then builds, runs, tests and measures rvc-run with it.
//!
//! Standard library only, so that it compiles in a second before libtorch is present. Every command gives cargo the same
//! environment and the same profile: torch-sys, which takes minutes, is compiled once.

mod fetch;
mod find;
mod libtorch;

use libtorch::Libtorch;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The result of a command: the process's exit code, or one message for the user.
pub type Outcome<T = ExitCode> = Result<T, String>;

const HELP: &str = "\
cargo xtask: builds, runs, tests and measures rvc-run

  cargo xtask run RECIPE [ARGS]    run a recipe:  cargo xtask run recipes/quickstart.rhai
                                   anything that rvc-run understands works:  cargo xtask run doctor
  cargo xtask test [FILTER]        the tests that take seconds, or those of them whose name contains FILTER:
                                   cargo xtask test audio::    the area of tests/audio.rs
  cargo xtask test --all [FILTER]  every test: also full-size networks, kills, real MLflow and Slurm
  cargo xtask bench NAME [ARGS]    one benchmark of tests/bench:  cargo xtask bench step --rounds 6
  cargo xtask install              put rvc-run on the PATH (into cargo's bin folder)
  cargo xtask wheel [DIR]          make a Python wheel in DIR (target/wheels): `pip install` or `uvx` of the file gives rvc-run
                                   to a Python, with the torch that it installs beside it
  cargo xtask clippy|check|build|doc [ARGS]
                                   cargo's own command with libtorch set
  cargo xtask libtorch             print the folder of the libtorch in use, fetched if necessary;
                                   for other tools:  export LIBTORCH=$(cargo xtask libtorch)
  cargo xtask fetch [--cpu|--gpu]  fetch libtorch (again) into .libtorch/; without a flag: --gpu if an NVIDIA GPU is here

libtorch 2.11 is taken from the first of:
  1. LIBTORCH                      a folder with lib/ and include/, such as .../site-packages/torch
  2. .libtorch/                    in the checkout
  3. a Python that has torch 2.11  VIRTUAL_ENV's, python3, python
  4. the Python package index      with pip or uv, into .libtorch/: 0.55 GB without an NVIDIA GPU, 3 GB with one

A C++ compiler is needed (tch's C++ part is compiled once: about five minutes on two cores).
";

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = if args.is_empty() { OsString::from("--help") } else { args.remove(0) };
    let result = match command.to_str().unwrap_or_default() {
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        "run" => run(&args),
        "test" => test(&args),
        "bench" => bench(&args),
        "install" => install(),
        "wheel" => wheel(&args),
        "clippy" => cargo_with("clippy", &["--workspace", "--all-targets"], &args),
        name @ ("check" | "build" | "doc") => cargo_with(name, &[], &args),
        "libtorch" => find().map(|found| {
            println!("{}", found.root.display());
            ExitCode::SUCCESS
        }),
        "fetch" => fetch_command(&args),
        other => Err(format!("there is no command {other:?}; `cargo xtask --help` lists them")),
    };
    result.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::FAILURE
    })
}

/// Builds, then becomes rvc-run, so that Ctrl-C and the exit code are the program's own.
fn run(args: &[OsString]) -> Outcome {
    let found = find()?;
    let program = build(&found)?;
    let mut command = Command::new(program);
    found.for_programs(&mut command);
    command.args(args);
    become_program(command)
}

fn test(args: &[OsString]) -> Outcome {
    let mut command = cargo(&find()?, "test");
    command.args(["--workspace", "--no-fail-fast"]).args(test_arguments(args));
    // The tests run beside each other, one a core. More threads in each would only wait for each other.
    if std::env::var_os("OMP_NUM_THREADS").is_none() {
        command.env("OMP_NUM_THREADS", "1");
    }
    wait(command)
}

/// What follows `cargo test` for what follows `cargo xtask test`: `--all` takes the tests in that are marked as slow.
fn test_arguments(args: &[OsString]) -> Vec<OsString> {
    let split = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (ours, runners) = args.split_at(split);
    let mut all: Vec<OsString> = ours.iter().filter(|arg| *arg != "--all").cloned().collect();
    let slow_too = all.len() < ours.len();
    all.extend(runners.iter().cloned());
    if slow_too {
        if runners.is_empty() {
            all.push("--".into());
        }
        all.push("--include-ignored".into());
    }
    all
}

fn bench(args: &[OsString]) -> Outcome {
    let Some((name, rest)) = args.split_first() else {
        return Err(format!("which benchmark? {}", benches()));
    };
    let name_text = name.to_string_lossy();
    if !checkout().join("tests/bench").join(format!("{name_text}.rs")).is_file() {
        return Err(format!("there is no benchmark {name_text:?}; {}", benches()));
    }
    let found = find()?;
    let mut command = cargo(&found, "bench");
    command.args(["--profile", "dev", "--bench"]).arg(name).arg("--").args(rest);
    wait(command)
}

/// "tests/bench has: step".
fn benches() -> String {
    let names = std::fs::read_dir(checkout().join("tests/bench")).into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .filter_map(|entry| entry.file_name().to_str().and_then(|n| n.strip_suffix(".rs")).map(str::to_owned))
        .collect();
    names.sort();
    format!("tests/bench has: {}", names.join(", "))
}

/// Copies the program that `run` uses to cargo's bin folder. (`cargo install` would compile everything again in its own profile.)
fn install() -> Outcome {
    let found = find()?;
    let program = build(&found)?;
    let home = std::env::var_os("CARGO_INSTALL_ROOT").or_else(|| std::env::var_os("CARGO_HOME")).map(PathBuf::from);
    let user = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).map(PathBuf::from);
    let bin = home
        .or_else(|| user.map(|folder| folder.join(".cargo")))
        .ok_or("the folder for programs is unknown: set CARGO_INSTALL_ROOT to a folder; rvc-run goes into its bin/")?
        .join("bin");
    let target = bin.join(program.file_name().unwrap_or("rvc-run".as_ref()));
    // Copied to the same folder and renamed: a running rvc-run keeps its old file.
    let temp = bin.join(format!(".rvc-run-{}.tmp", std::process::id()));
    std::fs::create_dir_all(&bin)
        .and_then(|()| std::fs::copy(&program, &temp))
        .and_then(|_| std::fs::rename(&temp, &target))
        .map_err(|e| {
            let _ = std::fs::remove_file(&temp);
            format!("cannot write {}: {e}", target.display())
        })?;
    println!("installed  {}", target.display());
    println!("libtorch   {} (used from there: keep that folder)", found.root.display());
    println!(
        "recipes    in the program: `rvc-run list`; `rvc-run eject recipes/NAME` or stdlib/NAME writes one to edit"
    );
    if cfg!(windows) {
        println!("PATH       add {} so that libtorch's DLLs are found", found.lib().display());
    }
    let on_path = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p == bin));
    if !on_path {
        println!("PATH       add {} to it, then `rvc-run --help` works everywhere", bin.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a Python wheel of the program: with a script, since Python's library has everything that a wheel needs.
fn wheel(args: &[OsString]) -> Outcome {
    let folder = match args {
        [] => checkout().join("target/wheels"),
        [folder] if !folder.to_string_lossy().starts_with('-') => PathBuf::from(folder),
        _ => return Err("wheel takes a folder, or nothing".into()),
    };
    if !cfg!(target_os = "linux") {
        return Err("a wheel can be made on Linux only; `cargo xtask install` puts rvc-run on the PATH".into());
    }
    let works = |python: &PathBuf| {
        let version = Command::new(python).arg("-V").stdin(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    };
    let python = libtorch::pythons().into_iter().find(works).ok_or("Python 3 is needed and was not found")?;
    let found = find()?;
    let program = build(&found)?;
    let mut command = Command::new(python);
    command.arg(checkout().join("xtask/wheel/build.py")).arg(program).arg(folder);
    wait(command)
}

fn fetch_command(args: &[OsString]) -> Outcome {
    let set = match args {
        [] if libtorch::nvidia_gpu_is_here() => fetch::Set::Gpu,
        [] => fetch::Set::Cpu,
        [flag] if flag == "--cpu" => fetch::Set::Cpu,
        [flag] if flag == "--gpu" => fetch::Set::Gpu,
        _ => return Err("fetch takes --cpu or --gpu, or nothing".into()),
    };
    let found = fetch::fetch(&checkout(), set, true)?;
    println!("{}", found.root.display());
    Ok(ExitCode::SUCCESS)
}

/// The libtorch to use; prints which one to stderr if it is not the checkout's own.
fn find() -> Outcome<Libtorch> {
    let found = find::find(&checkout())?;
    if std::env::var_os("LIBTORCH").is_none() && found.root.starts_with(checkout()) {
        return Ok(found);
    }
    eprintln!("libtorch {} in {}", found.version, found.root.display());
    Ok(found)
}

/// Builds rvc-run, showing cargo's progress, and returns the program's path from cargo's output.
fn build(found: &Libtorch) -> Outcome<PathBuf> {
    let mut command = cargo(found, "build");
    command.args(["--bin", "rvc-run", "--message-format=json-render-diagnostics"]);
    command.stdout(Stdio::piped());
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let output = output.map_err(|e| format!("cannot start cargo: {e}"))?;
    if !output.status.success() {
        return Err("the build failed; see above".into());
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .map(PathBuf::from)
        .ok_or_else(|| "cargo did not say where it put rvc-run".into())
}

/// The last `"executable":"..."` of cargo's JSON lines, unescaped.
fn executable(lines: &str) -> Option<String> {
    let text = lines.rsplit("\"executable\":\"").next().filter(|rest| rest.len() < lines.len())?;
    let mut path = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(path),
            // Cargo escapes only separators and quotes; other characters of a path are unchanged.
            '\\' => path.push(chars.next()?),
            c => path.push(c),
        }
    }
}

fn cargo_with(name: &str, first: &[&str], args: &[OsString]) -> Outcome {
    let mut command = cargo(&find()?, name);
    command.args(first).args(args);
    wait(command)
}

/// `cargo NAME` on this checkout with `found` as its libtorch, in the user's current folder.
fn cargo(found: &Libtorch, name: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(name).arg("--manifest-path").arg(checkout().join("Cargo.toml"));
    found.for_cargo(&mut command);
    found.for_programs(&mut command);
    command
}

fn wait(mut command: Command) -> Outcome {
    ignore_ctrl_c();
    let status = command.status().map_err(|e| format!("cannot start {}: {e}", command.get_program().display()))?;
    // 130 is what a shell reports for a child ended by Ctrl-C.
    Ok(ExitCode::from(status.code().map_or(130, |code| code as u8)))
}

#[cfg(unix)]
fn become_program(mut command: Command) -> Outcome {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(format!("cannot start {}: {error}", command.get_program().display()))
}

#[cfg(not(unix))]
fn become_program(command: Command) -> Outcome {
    wait(command)
}

/// Leaves Ctrl-C to the child, which saves its work before it ends; on Unix `run` has already become the child.
#[cfg(windows)]
fn ignore_ctrl_c() {
    unsafe extern "system" fn handled(_event: u32) -> i32 {
        1
    }
    unsafe extern "system" {
        fn SetConsoleCtrlHandler(handler: unsafe extern "system" fn(u32) -> i32, add: i32) -> i32;
    }
    // SAFETY: the handler is a plain function without state, valid for the whole process.
    unsafe { SetConsoleCtrlHandler(handled, 1) };
}

#[cfg(not(windows))]
fn ignore_ctrl_c() {}

/// The folder of rvc-run's Cargo.toml: the parent of this package.
fn checkout() -> PathBuf {
    // At run time, so that a checkout that was moved together with its target folder works.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf());
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_path_is_read_from_cargos_lines() {
        let lines = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                     {\"reason\":\"compiler-artifact\",\"executable\":\"C:\\\\t\\\\rvc-run.exe\",\"fresh\":true}\n\
                     {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(lines).as_deref(), Some("C:\\t\\rvc-run.exe"));
        assert_eq!(executable("{\"executable\":null}"), None);
    }

    #[test]
    fn all_takes_the_slow_tests_in_wherever_it_stands() {
        let told = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            test_arguments(&args).into_iter().map(|arg| arg.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(told(&["--locked", "audio"]), ["--locked", "audio"]);
        assert_eq!(told(&["--all"]), ["--", "--include-ignored"]);
        assert_eq!(told(&["audio", "--all", "--", "--nocapture"]), ["audio", "--", "--nocapture", "--include-ignored"]);
    }

    #[test]
    fn help_names_every_command() {
        for name in ["run", "test", "bench", "install", "wheel", "clippy", "libtorch", "fetch"] {
            assert!(HELP.contains(&format!("cargo xtask {name}")), "{name}");
        }
    }
}
