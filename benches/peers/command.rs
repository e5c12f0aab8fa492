//! Running one command of a contender: to its end, but not for ever.
//!
//! A peer that hangs or spins must not stop the measurements of all others. So each command is a process group of its own,
//! which is killed when its time is over; and its complaints go to a file in memory, not to a pipe: what a command leaves
//! behind (a monitor, Podman's pause process) may hold its standard error for ever, and a pipe would then never end.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::poll::PollTimeout;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use podling::linux::process::Process;

/// How long one command may take. The slowest that succeeds, a peer's pull of the large image, needs a quarter of it.
const LIMIT: Duration = Duration::from_secs(100);

/// Runs a command to its end, and fails unless it succeeds in time.
pub fn succeed(command: Command) -> Result<()> {
    Running::start(command)?.succeed()
}

/// A command that was started.
pub struct Running {
    told: String,
    child: Child,
    stderr: File,
    deadline: Instant,
}

impl Running {
    pub fn start(mut command: Command) -> Result<Self> {
        let stderr = File::from(memfd_create("stderr", MFdFlags::MFD_CLOEXEC)?);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.try_clone()?).process_group(0);
        let told = format!("{command:?}");
        Ok(Self { told, child: command.spawn()?, stderr, deadline: Instant::now() + LIMIT })
    }

    /// Waits for its end; fails unless it succeeded, and in time.
    pub fn succeed(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id() as i32);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let in_time = Process::open(pid)?.map_or(Ok(true), |it| it.await_end(PollTimeout::try_from(left)?))?;
        if !in_time {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        let status = self.child.wait()?;
        let mut said = String::new();
        self.stderr.rewind()?;
        self.stderr.read_to_string(&mut said)?;
        ensure!(in_time, "{} was killed: it did not end in {} s: {}", self.told, LIMIT.as_secs(), said.trim());
        ensure!(status.success(), "{} ended with {status}: {}", self.told, said.trim());
        Ok(())
    }
}
