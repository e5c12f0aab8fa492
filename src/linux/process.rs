//! Processes: named by a pidfd, told apart by their start time, signalled by name, waited for.
//!
//! A pid is a number that the kernel gives away again. Written in a file it means "whoever has this number now". So a pid
//! is stored together with the process's start time (field 22 of /proc/PID/stat), believed only if both still agree, and
//! then held as a pidfd, which names that one process for as long as it is open.

use std::convert::Infallible;
use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, execvp};

use super::namespace::{self, Namespace};
use crate::hint::cured;
use crate::sys::{self, Side};
use crate::trace::{self, Topic};

/// How many of the `wanted` descriptors from 3 on whoever started this program has left open for it, without a gap. What
/// the program opens itself is close-on-exec, and so is not mistaken for one of them.
pub fn inherited(wanted: u32) -> u32 {
    let is_inherited = |fd: &u32| {
        let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let flags = told.lines().find_map(|line| i32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.is_some_and(|flags| flags & libc::O_CLOEXEC == 0)
    };
    (3..3 + wanted).take_while(is_inherited).count() as u32
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `T`, `Z` (a zombie: ended, not yet waited for), …
    pub state: char,
    /// The parent's pid.
    pub parent: i32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl Stat {
    /// Reads the stat of process `pid`; `None` if there is none.
    pub fn of(pid: Pid) -> Result<Option<Stat>> {
        match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(text) => Self::parse(&String::from_utf8_lossy(&text)).map(Some).context(format!("/proc/{pid}/stat")),
            // The file may be opened and then read after the process went: ESRCH.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
            Err(error) => Err(error).context(format!("/proc/{pid}/stat")),
        }
    }

    /// Whether it is more than a record of how it ended: neither a zombie nor dead.
    pub fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    fn parse(text: &str) -> Result<Stat> {
        // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
        let rest = text.rsplit_once(')').context("no program name")?.1;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied().context("too few fields");
        Ok(Stat {
            state: field(3)?.chars().next().context("no state")?,
            parent: field(4)?.parse()?,
            start_time: field(22)?.parse()?,
        })
    }
}

/// When process `pid` started, in clock ticks since boot; `None` if there is no such process.
pub fn start_time(pid: Pid) -> Result<Option<u64>> {
    Ok(Stat::of(pid)?.map(|stat| stat.start_time))
}

/// Goes on in a copy of this process, as a daemon does that lets its caller go. `None`: this is the copy; else this is the
/// original, and holds it.
pub fn go_on_in_a_copy() -> nix::Result<Option<Process>> {
    Ok(match sys::clone3(0, None)? {
        Side::Parent(pid, fd) => Some(Process { pid, fd }),
        Side::Child => None,
    })
}

/// A process, held.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    fd: OwnedFd,
}

impl Process {
    /// Wraps what `clone3` returned.
    pub fn from_parts(pid: Pid, fd: OwnedFd) -> Self {
        Self { pid, fd }
    }

    /// Holds process `pid`; `None` if there is none. Only a parent may be sure that the number still means its child;
    /// for others there is [`Process::find`].
    pub fn open(pid: Pid) -> Result<Option<Self>> {
        match sys::pidfd_open(pid) {
            Ok(fd) => Ok(Some(Self { pid, fd })),
            // The number is free, or a thread's by now (ENOENT, on older kernels EINVAL).
            Err(Errno::ESRCH | Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("opening process {pid}")),
        }
    }

    /// Holds the process that had number `pid` and began at `start_time`, if it still lives (a zombie does not).
    pub fn find(pid: Pid, start_time: u64) -> Result<Option<Self>> {
        // Held first, compared after: once the pidfd is open the number cannot change its meaning unnoticed.
        let Some(process) = Self::open(pid)? else { return Ok(None) };
        let lives = Stat::of(pid)?.is_some_and(|stat| stat.start_time == start_time && stat.lives());
        Ok(lives.then_some(process))
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to exactly this process. `ESRCH`: it has ended.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        trace::ask(Topic::Process, "pidfd_send_signal", format_args!("{} {signal}", self.pid), || {
            sys::pidfd_send_signal(self.fd.as_fd(), signal.0)
        })
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> Result<bool> {
        self.await_end(PollTimeout::ZERO)
    }

    /// Waits until it ends, whoever its parent is; `false` if `timeout` came first.
    pub fn await_end(&self, timeout: PollTimeout) -> Result<bool> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, timeout) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context(format!("waiting for process {}", self.pid)),
            }
        }
    }

    /// Waits for our child and takes its exit status; the kernel forgets it then.
    pub fn reap(&self) -> Result<Exit> {
        let exit = loop {
            match waitid(Id::PIDFd(self.fd.as_fd()), WaitPidFlag::WEXITED) {
                Ok(WaitStatus::Exited(_, code)) => break Exit::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => break Exit::Signal(Signal(signal as i32)),
                Ok(other) => bail!("process {} changed its state oddly: {other:?}", self.pid),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).with_context(|| format!("waiting for process {}", self.pid)),
            }
        };
        trace::say(Topic::Process, "waitid", format_args!("pid {}", self.pid), &exit.to_string());
        Ok(exit)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Copies this process into new namespaces of these kinds, born inside `cgroup` if one is given. The copy lives `life`,
/// and ends with the status that this returns, if it returns: never does it come back into the caller's code.
///
/// This process must have one thread (see [`sys::clone3`]).
pub fn clone(kinds: &[Namespace], cgroup: Option<BorrowedFd>, life: impl FnOnce() -> u8) -> Result<Process> {
    let told = namespace::names(kinds);
    match sys::clone3(u64::from(namespace::flags(kinds) as u32), cgroup) {
        Ok(Side::Child) => sys::exit_now(catch_unwind(AssertUnwindSafe(life)).map_or(125, i32::from)),
        Ok(Side::Parent(pid, fd)) => {
            let into = cgroup.map_or("", |_| " into its cgroup");
            trace::say(Topic::Process, "clone3", format_args!("{told}{into}"), &format!("pid {pid}"));
            Ok(Process::from_parts(pid, fd))
        }
        Err(error) => Err(cannot_clone(error, &told)),
    }
}

/// The error of a clone3 that was to make these namespaces.
pub fn cannot_clone(error: Errno, told: &str) -> anyhow::Error {
    let cure = match error {
        _ if told.is_empty() => return anyhow::Error::new(error).context("copying this process"),
        Errno::EPERM => "new namespaces may be forbidden here (user.max_user_namespaces, AppArmor, seccomp)",
        Errno::ENOSPC => "no more namespaces are allowed: see /proc/sys/user/",
        _ => return anyhow::Error::new(error).context(format!("making namespaces ({told})")),
    };
    cured(error, format!("making namespaces ({told})"), cure)
}

/// Lets no process without privilege look into this one: ptrace is refused, and its /proc files become root's
/// (`PR_SET_DUMPABLE`). The execve of a program that everybody may read ends it.
pub fn forbid_inspection() -> Result<()> {
    let call = || nix::sys::prctl::set_dumpable(false);
    trace::ask(Topic::Security, "prctl", format_args!("PR_SET_DUMPABLE 0"), call).context("PR_SET_DUMPABLE")
}

/// Becomes the program, found in $PATH, with this process's environment. Signals are as usual for it, and it gets
/// standard input, output and error, nothing else that we hold.
pub fn execute(program: &[CString]) -> Result<Infallible> {
    sys::restore_sigpipe().context("restoring SIGPIPE")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("unblocking signals")?;
    sys::close_on_exec_from(3).context("marking descriptors to be closed")?;
    let name = program.first().context("no program")?;
    trace::say(Topic::Process, "execve", format_args!("{}", name.to_string_lossy()), "ok");
    let Err(errno) = execvp(name, program);
    Err(NotRunnable { program: name.to_string_lossy().into_owned(), errno }.into())
}

/// A program that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRunnable {
    /// What was asked for.
    pub program: String,
    /// What the kernel said.
    pub errno: Errno,
}

impl NotRunnable {
    /// What shells answer: 127 for a program that is not there, 126 for one that may not be run.
    pub fn status(&self) -> u8 {
        if matches!(self.errno, Errno::ENOENT | Errno::ENOTDIR) { 127 } else { 126 }
    }
}

impl fmt::Display for NotRunnable {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        // The words are a contract: Podman looks for them.
        match self.errno {
            Errno::ENOENT if !self.program.contains('/') => {
                write!(out, "exec: \"{}\": executable file not found in $PATH", self.program)
            }
            errno => write!(out, "exec: \"{}\": {}", self.program, errno.desc().to_lowercase()),
        }
    }
}

impl std::error::Error for NotRunnable {}

/// Finds an executable in $PATH.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let is_program =
        |file: &PathBuf| std::fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this number.
    Code(i32),
    /// A signal ended it.
    Signal(Signal),
}

impl Exit {
    /// What a shell shows as `$?`: the code, or 128 + the signal's number.
    pub fn status(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal.0,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(out, "exit status {code}"),
            Exit::Signal(signal) => write!(out, "killed by {signal}"),
        }
    }
}

/// A signal: 1 … 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

/// Names by number (signal(7), x86 and ARM), from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// Real-time signals as programs see them: the C library keeps 32 and 33 for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    /// The end that cannot be refused.
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// The request to end.
    pub const TERM: Signal = Signal(libc::SIGTERM);

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The signal with this number.
    pub fn from_number(number: i32) -> Result<Self> {
        if !(1..=RTMAX).contains(&number) {
            bail!("no signal has the number {number}");
        }
        Ok(Signal(number))
    }
}

impl FromStr for Signal {
    type Err = anyhow::Error;

    /// `KILL`, `SIGKILL`, `sigkill`, `9`, `RTMIN+3`.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return Self::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(index) = SIGNALS.iter().position(|known| *known == name) {
            return Ok(Signal(index as i32 + 1));
        }
        let offset =
            |text: &str, sign| text.strip_prefix(sign).and_then(|digits| digits.parse::<u8>().ok()).map(i32::from);
        let number = match name {
            "IOT" => Some(libc::SIGABRT),
            "POLL" => Some(libc::SIGIO),
            "CLD" => Some(libc::SIGCHLD),
            _ => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
                (Some(""), _) => Some(RTMIN),
                (_, Some("")) => Some(RTMAX),
                (Some(after), _) => offset(after, '+').map(|n| RTMIN + n),
                (_, Some(before)) => offset(before, '-').map(|n| RTMAX - n),
                _ => None,
            },
        };
        number
            .filter(|number| (1..=RTMAX).contains(number))
            .map(Signal)
            .with_context(|| format!("unknown signal {text:?}"))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match SIGNALS.get(self.0 as usize - 1) {
            Some(name) => write!(out, "SIG{name}"),
            None if self.0 < RTMIN => write!(out, "{}", self.0),
            None => write!(out, "SIGRTMIN+{}", self.0 - RTMIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_name_and_number() {
        for text in ["KILL", "SIGKILL", "sigkill", "9"] {
            assert_eq!(text.parse::<Signal>().expect(text), Signal::KILL);
        }
        assert_eq!("RTMIN+3".parse::<Signal>().expect("real-time").number(), 37);
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        for number in 1..=64 {
            let signal = Signal::from_number(number).expect("there are 64");
            assert_eq!(signal.to_string().parse::<Signal>().expect("our own word"), signal);
        }
        for text in ["0", "65", "", "SIG", "KILLED", "-9", "RTMIN+40", "RTMIN+-3", "RTMIN+2147483647", "RTMAX--1"] {
            assert!(text.parse::<Signal>().is_err(), "{text:?} is no signal");
        }
    }

    #[test]
    fn a_program_name_cannot_forge_its_stat() {
        let line = "42 (a) Z 1 (b)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0";
        assert_eq!(Stat::parse(line).expect("a stat line"), Stat { state: 'S', parent: 7, start_time: 99 });
    }

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let me = Pid::this();
        let began = start_time(me).expect("stat").expect("we live");
        assert!(Process::find(me, began).expect("find").is_some());
        assert!(Process::find(me, began + 1).expect("find").is_none());
    }

    #[test]
    fn a_number_that_is_a_thread_s_now_is_no_process() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid()).expect("the test listens");
            let _ = ended.recv();
        });
        let number = told.recv().expect("it runs");
        let began = start_time(number).expect("stat").expect("it runs");
        assert!(Process::find(number, began).expect("find").is_none());
        drop(end);
        thread.join().expect("it ends");
    }

    #[test]
    fn a_signal_s_status_is_128_and_its_number() {
        assert_eq!(Exit::Signal(Signal::KILL).status(), 137);
        assert_eq!(Exit::Code(3).status(), 3);
    }
}
