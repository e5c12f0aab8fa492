//! Staying with a process until it ends: its signals passed on, its terminal connected with ours, its status ours.
//!
//! Signals come as data (a signalfd), the end as a readable pidfd. So one `poll` waits for everything, and nothing is
//! missed when two children end at once.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgid, getpgrp, read, write};

use super::process::{Exit, Process, Signal};
use crate::sys;

/// Ready to wait; from now on signals wait too.
#[derive(Debug)]
pub struct Wait {
    signals: SignalFd,
    terminal: Option<Terminal>,
}

impl Wait {
    /// Holds back the signals that are to be passed on. Before the process runs, or one sent early would end us alone.
    /// `master` is the other end of its terminal, if it has one and nobody else takes it.
    pub fn begin(master: Option<OwnedFd>) -> Result<Self> {
        let mut set = SigSet::all();
        // These are about ourselves: faults, and stopping and going on at a shell.
        for ours in [
            Number::SIGSEGV,
            Number::SIGBUS,
            Number::SIGILL,
            Number::SIGFPE,
            Number::SIGTSTP,
            Number::SIGTTIN,
            Number::SIGTTOU,
            Number::SIGCONT,
            Number::SIGPIPE,
        ] {
            set.remove(ours);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).context("holding back signals")?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")?;
        Ok(Self { signals, terminal: master.map(Terminal::connect).transpose()? })
    }

    /// Waits.
    pub fn until_end(mut self, process: &Process) -> Result<Exit> {
        loop {
            let ready = self.poll(process)?;
            if ready.signal {
                while let Ok(Some(signal)) = self.signals.read_signal() {
                    if !has_had_it(&signal, process) {
                        self.pass_on(signal.ssi_signo as i32, process)?;
                    }
                }
            }
            if let Some(terminal) = &mut self.terminal {
                if ready.input {
                    terminal.input_to_program();
                }
                if ready.output && !terminal.output_to_us() {
                    terminal.master = None;
                }
            }
            if ready.end {
                break;
            }
        }
        let exit = process.reap()?;
        if let Some(terminal) = &mut self.terminal {
            // What it wrote last is still in the terminal. Others may hold it open: what they write later is not waited for.
            while terminal.has_output() && terminal.output_to_us() {}
        }
        Ok(exit)
    }

    fn poll(&self, process: &Process) -> Result<Ready> {
        let stdin = std::io::stdin();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![readable(process.as_fd()), readable(self.signals.as_fd())];
        if let Some(terminal) = &self.terminal
            && let Some(master) = &terminal.master
        {
            fds.push(readable(master.as_fd()));
            if !terminal.input_ended {
                fds.push(readable(stdin.as_fd()));
            }
        }
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
        }
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd| fd.any().unwrap_or(true));
        Ok(Ready { end: is_ready(0), signal: is_ready(1), output: is_ready(2), input: is_ready(3) })
    }

    fn pass_on(&mut self, number: i32, process: &Process) -> Result<()> {
        match number {
            // The pidfd tells us.
            libc::SIGCHLD => {}
            libc::SIGWINCH if self.terminal.is_some() => {
                if let Some(terminal) = &self.terminal {
                    terminal.copy_size();
                }
            }
            number => match process.signal(Signal::from_number(number)?) {
                // It ended meanwhile; the next poll says so.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context("passing on a signal"),
            },
        }
        Ok(())
    }
}

/// A terminal sends Ctrl-C to a whole process group: one of ours has had it already.
fn has_had_it(signal: &siginfo, process: &Process) -> bool {
    signal.ssi_code == libc::SI_KERNEL && getpgid(Some(process.pid())) == Ok(getpgrp())
}

struct Ready {
    end: bool,
    signal: bool,
    output: bool,
    input: bool,
}

/// The program's terminal and ours, which is raw meanwhile: keys go to the program, not to our shell's rules.
#[derive(Debug)]
struct Terminal {
    master: Option<OwnedFd>,
    before: Option<Termios>,
    input_ended: bool,
}

impl Terminal {
    fn connect(master: OwnedFd) -> Result<Self> {
        let mut before = None;
        if std::io::stdin().is_terminal() {
            let settings = tcgetattr(std::io::stdin())?;
            let mut raw = settings.clone();
            cfmakeraw(&mut raw);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
            before = Some(settings);
        }
        let terminal = Self { master: Some(master), before, input_ended: false };
        terminal.copy_size();
        Ok(terminal)
    }

    fn copy_size(&self) {
        let Some(master) = &self.master else { return };
        if let Ok((rows, columns)) = sys::window_size(std::io::stdin().as_fd())
            && (rows, columns) != (0, 0)
        {
            let _ = sys::set_window_size(master.as_fd(), rows, columns);
        }
    }

    fn input_to_program(&mut self) {
        let Some(master) = &self.master else { return };
        let mut bytes = [0u8; 4096];
        match read(std::io::stdin(), &mut bytes) {
            // Nothing after all: others may read from the same terminal.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(0) | Err(_) => {
                // The end of our input is, to a terminal, the end-of-file key.
                self.input_ended = true;
                write_all(master.as_fd(), &[4]);
            }
            Ok(length) => write_all(master.as_fd(), &bytes[..length]),
        }
    }

    fn has_output(&self) -> bool {
        let Some(master) = &self.master else { return false };
        poll(&mut [PollFd::new(master.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// `false` when there is nothing more to come.
    fn output_to_us(&mut self) -> bool {
        let Some(master) = &self.master else { return false };
        let mut bytes = [0u8; 8192];
        match read(master, &mut bytes) {
            Ok(length @ 1..) => {
                let mut out = std::io::stdout();
                let _ = out.write_all(&bytes[..length]).and_then(|()| out.flush());
                true
            }
            Err(Errno::EINTR) => true,
            // EIO: nobody has the other end open any more.
            Ok(_) | Err(_) => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.before {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, settings);
        }
    }
}

fn write_all(fd: BorrowedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
