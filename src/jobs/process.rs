//! One child process: in its own process group, signalled to stop when its parent dies, with a lock that lives as long as it does.
//!
//! The group is [`crate::process`]'s; the lock that the child inherits and the signal when its parent dies are written here.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Time between two tries of a lock.
const RETRY: Duration = Duration::from_millis(20);

/// A job's lock file, locked. A child that is started with it holds it too, until it and all its children have exited, even when this
/// process is killed. It is never unlocked, only closed: unlocking would release it for the child as well.
pub(super) struct Hold(File);

impl Hold {
    /// The lock at `path`; None if another process still holds it after `patience`, or at `stop`.
    pub fn take(path: &Path, patience: Duration, stop: impl Fn() -> bool) -> std::io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(std::fs::TryLockError::WouldBlock) if began.elapsed() < patience && !stop() => {
                    std::thread::sleep(RETRY);
                }
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(e)) => return Err(e),
            }
        }
    }

    /// The lock as standard input of another program, which then holds it too. There is nothing to read.
    pub fn share(&self) -> std::io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }
}

#[cfg(unix)]
pub(super) use unix::{Child, kill_holders};

#[cfg(not(unix))]
pub(super) use other::{Child, kill_holders};

#[cfg(unix)]
mod unix {
    use super::Hold;
    use crate::process::Group;
    use rustix::io::{FdFlags, fcntl_setfd};
    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::path::Path;
    use std::process::Command;

    /// A running child. Dropping it before [`Child::end`] kills the child with its group.
    pub struct Child(Option<Group>);

    impl Child {
        /// Starts `command` in its own process group; after its end calls `gone` from another thread.
        ///
        /// On Linux the child gets SIGTERM when the *thread* that calls this ends.
        pub fn start(mut command: Command, hold: &Hold, gone: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
            let lock = hold.0.try_clone()?;
            let parent = rustix::process::getpid();
            let prepare = move || {
                // Only in the child: if the parent set it, every program that another thread starts now would inherit it.
                fcntl_setfd(&lock, FdFlags::empty())?;
                stop_with(parent)
            };
            // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are three system calls (fcntl,
            // prctl, getppid) without memory allocation, locks or panics.
            unsafe { command.pre_exec(prepare) };
            let group = Group::start(command)?;
            let process = i32::try_from(group.id()).ok().and_then(Pid::from_raw);
            let child = Self(Some(group));
            std::thread::Builder::new().name("job".into()).stack_size(64 << 10).spawn(move || {
                // NOWAIT leaves the child a zombie, so that its number is not reused while it may be signalled.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                let wait = |process| rustix::process::waitid(WaitId::Pid(process), options);
                while process.is_some_and(|process| matches!(wait(process), Err(rustix::io::Errno::INTR))) {}
                gone();
            })?;
            Ok(child)
        }

        /// Asks the child and its children to stop.
        pub fn interrupt(&self) {
            self.0.as_ref().inspect(|group| group.interrupt());
        }

        pub fn kill(&mut self) {
            self.0.as_mut().map(Group::kill);
        }

        /// The exit code or the signal of a child that has exited. Kills the processes that it left behind.
        pub fn end(mut self) -> std::io::Result<Result<i32, i32>> {
            let group = self.0.take().ok_or(std::io::ErrorKind::NotFound)?;
            let status = group.end()?;
            Ok(status.code().ok_or_else(|| status.signal().unwrap_or_default()))
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            // At once: it was asked to stop before, or its controller fails.
            if let Some(group) = self.0.take() {
                let _ = group.end();
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn stop_with(parent: Pid) -> std::io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have died before the call.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    }

    /// On other systems a child outlives a controller that is killed; the next one waits for it.
    #[cfg(not(target_os = "linux"))]
    fn stop_with(_parent: Pid) -> std::io::Result<()> {
        Ok(())
    }

    /// Kills the other processes that have the lock file open. Only on systems with /proc, which lists them.
    pub fn kill_holders(lock: &Path) {
        use std::os::unix::fs::MetadataExt;
        let identity = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        let Some(wanted) = identity(lock) else { return };
        let own = rustix::process::getpid();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            let Some(pid) = pid.filter(|pid| *pid != own) else { continue };
            let open = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            if open.into_iter().any(|file| identity(&file.path()) == Some(wanted)) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Without process groups there is no guarantee that a child stops with all its children.
#[cfg(not(unix))]
mod other {
    use super::Hold;
    use std::path::Path;
    use std::process::Command;

    pub enum Child {}

    impl Child {
        pub fn start(_command: Command, _hold: &Hold, _gone: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
            Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "jobs run on Linux and macOS only"))
        }

        pub fn interrupt(&self) {
            match *self {}
        }

        pub fn kill(&mut self) {
            match *self {}
        }

        pub fn end(self) -> std::io::Result<Result<i32, i32>> {
            match self {}
        }
    }

    pub fn kill_holders(_lock: &Path) {}
}
