//! A program that a test started: what it says, how it ends, and a deadline on every wait.
//!
//! Output is read through pipes, as a shell's `$(…)` would, and a program has ended only when nobody holds these pipes any
//! more: a monitor that keeps its caller's standard output would hang every script, so here it fails the test.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take. A virtual machine without KVM forks fifty times slower: it says so in the environment.
pub fn patience() -> Duration {
    let said = std::env::var("PODLING_TEST_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(said.unwrap_or(60))
}

/// A program that ended.
#[derive(Debug)]
pub struct Output {
    /// As a shell would say it: 128 + signal number if a signal ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// The command line, for messages.
    pub command: String,
}

impl Output {
    /// It must have succeeded. Returns standard output without its last newline.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{self}");
        self.stdout.trim_end_matches('\n')
    }

    /// It must have ended with this status. Returns standard error without its last newline.
    #[track_caller]
    pub fn fails(&self, status: i32) -> &str {
        assert_eq!(self.status, status, "{self}");
        self.stderr.trim_end_matches('\n')
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "\n$ {}\n{}{}[status {}]", self.command, self.stdout, self.stderr, self.status)
    }
}

/// A program that runs.
pub struct Running {
    pub child: Child,
    command: String,
    input: Option<File>,
    streams: [Option<File>; 2],
    heard: [Vec<u8>; 2],
    /// How much of standard output [`Running::line`] and [`Running::expect`] have consumed.
    read: usize,
}

impl Running {
    /// Starts it with pipes for its three streams. Standard input is empty unless `input` is asked for.
    pub fn start(mut command: Command, input: Input) -> Self {
        let said = describe(&command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        match input {
            Input::Empty => drop(command.stdin(Stdio::null())),
            Input::Pipe => drop(command.stdin(Stdio::piped())),
            Input::Given => {}
        }
        let mut child = command.spawn().unwrap_or_else(|e| panic!("starting {said}: {e}"));
        let input = child.stdin.take().map(|stdin| File::from(OwnedFd::from(stdin)));
        let stdout = child.stdout.take().map(|stdout| File::from(OwnedFd::from(stdout)));
        let stderr = child.stderr.take().map(|stderr| File::from(OwnedFd::from(stderr)));
        Self::new(child, said, input, [stdout, stderr])
    }

    /// Starts it on a terminal of its own, 24 rows by 80 columns; what it prints is read as standard output.
    pub fn start_on_terminal(mut command: Command) -> Self {
        let said = describe(&command);
        let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(&size, None).expect("a pty");
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).expect("our own descriptor");
        }
        let slave = || Stdio::from(pty.slave.try_clone().expect("a second descriptor"));
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().unwrap_or_else(|e| panic!("starting {said}: {e}"));
        // The command still holds the other side, and reading would never end.
        drop((command, pty.slave));
        let master = File::from(pty.master);
        Self::new(child, said, master.try_clone().ok(), [Some(master), None])
    }

    fn new(child: Child, command: String, input: Option<File>, streams: [Option<File>; 2]) -> Self {
        for stream in streams.iter().flatten() {
            fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("our own pipe");
        }
        Self { child, command, input, streams, heard: [Vec::new(), Vec::new()], read: 0 }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it is ours and not yet waited for");
    }

    /// Types something.
    pub fn write(&mut self, text: &str) {
        self.input.as_mut().expect("its input is open").write_all(text.as_bytes()).expect("it reads its input");
    }

    /// The end of its input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Changes its terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let terminal = self.streams[0].as_ref().expect("a terminal");
        podling::sys::set_window_size(terminal.as_fd(), rows, columns).expect("a terminal");
    }

    /// Its next line of standard output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let end = self.hear("a line", |new| new.find('\n').map(|at| at + 1));
        end.trim_end_matches(['\n', '\r']).to_owned()
    }

    /// Waits until standard output contains `text`; returns what came before and with it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        self.hear(text, |new| new.find(text).map(|at| at + text.len()))
    }

    #[track_caller]
    fn hear(&mut self, what: &str, find: impl Fn(&str) -> Option<usize>) -> String {
        let deadline = Instant::now() + patience();
        loop {
            let new = String::from_utf8_lossy(&self.heard[0][self.read..]).into_owned();
            if let Some(end) = find(&new) {
                self.read += end;
                return new[..end].to_owned();
            }
            let open = self.streams[0].is_some() && self.pump(deadline);
            assert!(open, "no {what:?} from\n$ {}\n{new}{}", self.command, String::from_utf8_lossy(&self.heard[1]));
        }
    }

    /// Everything it says from now on, and how it ends.
    #[track_caller]
    pub fn wait(self) -> Output {
        self.wait_within(patience())
    }

    /// The same for what may take this long.
    #[track_caller]
    pub fn wait_within(mut self, patience: Duration) -> Output {
        self.input = None;
        let deadline = Instant::now() + patience;
        while self.streams.iter().any(Option::is_some) {
            if !self.pump(deadline) {
                let ended = self.child.try_wait().ok().flatten();
                let _ = self.child.kill();
                let how = if ended.is_some() { "ended, but something holds its output" } else { "does not end" };
                panic!("{how}:{}", self.output(-1));
            }
        }
        // Both streams are closed: it has ended, or is about to.
        let status = self.child.wait().expect("our own child");
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        self.output(status)
    }

    fn output(&self, status: i32) -> Output {
        let text = |stream: usize| String::from_utf8_lossy(&self.heard[stream]).into_owned();
        Output { status, stdout: text(0), stderr: text(1), command: self.command.clone() }
    }

    /// Reads what there is, waiting for it if need be. False at the deadline.
    fn pump(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let mut wanted: Vec<_> =
            self.streams.iter().flatten().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut wanted, timeout);
        for (stream, heard) in self.streams.iter_mut().zip(&mut self.heard) {
            let Some(file) = stream else { continue };
            let mut buffer = [0; 8192];
            loop {
                match file.read(&mut buffer) {
                    // A terminal whose other side is closed answers EIO.
                    Ok(0) => *stream = None,
                    Ok(n) => {
                        heard.extend_from_slice(&buffer[..n]);
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => *stream = None,
                }
                break;
            }
        }
        true
    }
}

/// What a program's standard input is.
#[derive(Clone, Copy)]
pub enum Input {
    /// /dev/null
    Empty,
    /// [`Running::write`] writes to it.
    Pipe,
    /// What the command says.
    Given,
}

fn describe(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| format!(" {}", argument.to_string_lossy()));
    format!("{name}{}", arguments.collect::<String>())
}

/// Waits until a file exists, told by the kernel (inotify on its directory, which must exist).
#[track_caller]
pub fn until_exists(path: &Path) {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify");
    let dir = path.parent().expect("an absolute path");
    inotify.add_watch(dir, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO).expect("its directory exists");
    let deadline = Instant::now() + patience();
    while !path.exists() {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{} does not come to be", path.display());
        let mut wanted = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut wanted, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let _ = inotify.read_events();
    }
}

/// Waits until a process is gone (reaped, or never ours).
#[track_caller]
pub fn until_gone(pid: i32) {
    let Ok(pidfd) = podling::sys::pidfd_open(Pid::from_raw(pid)) else { return };
    let timeout = PollTimeout::try_from(patience()).unwrap_or(PollTimeout::MAX);
    let ended = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
    assert_eq!(ended, Ok(1), "process {pid} does not end");
}

/// Asks again and again until there is an answer: for what no descriptor tells (a server that comes up, /proc).
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: until {what}");
        let _ = poll(&mut [], 5_u8);
    }
}
