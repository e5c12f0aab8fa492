//! The loop in which the monitor spends its life: it waits for anything to happen, and passes it on.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

use super::attach::{Clients, Typed};
use super::control::{Control, Order};
use super::log::{Log, Stream};
use super::manner::InputEnds;
use super::memory::MemoryEvents;
use super::relay::Relay;
use super::report::Report;
use super::stdio::{Arrived, Streams};
use crate::handover::packet;
use crate::linux::poll::{PollFlags, Wanted};
use crate::linux::process::{Exit, Process, Signal};

/// What remains in pipes after the end is at most this much each (the largest pipe an ordinary user may make). A limit is
/// needed because a process that outlived the container's first one may go on writing for ever.
const DRAIN_MAX: usize = 1 << 20;
/// How long clients that are behind, other than the foreground's, may take the rest.
const LINGER: Duration = Duration::from_secs(2);

/// After so long without anything to do, the code that did the last thing need not stay in memory.
const QUIET: Duration = Duration::from_secs(1);

/// All that the loop looks after.
pub struct Watch {
    /// The container's first process.
    pub process: Process,
    /// Its streams.
    pub streams: Streams,
    /// Who watches.
    pub clients: Clients,
    /// Which of them ends the container's input.
    pub input: InputEnds,
    /// Orders.
    pub controls: Vec<Control>,
    /// Word to systemd.
    pub relay: Option<Relay>,
    /// Where output is kept.
    pub log: Log,
    /// What was written to standard error while the runtime still had it: a warning, or already the program's own words.
    pub early: Vec<u8>,
    /// Out of memory?
    pub memory: MemoryEvents,
    /// SIGCHLD, and requests to end.
    pub signals: SignalFd,
    /// When the container's time is up.
    pub deadline: Option<Instant>,
    /// … and has been.
    pub timed_out: bool,
    /// Nothing is read, and no end is noticed, until the foreground's client is there (or will never be). An exec session
    /// begins without waiting for `start`: its first words would be gone before its user has attached.
    pub held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Process,
    Signal,
    Output(Stream),
    Input,
    Door,
    Client(usize),
    Control(usize),
    Relay,
    Memory,
    Report,
}

impl Watch {
    /// Waits until the process ends, and passes on what comes until then and what is left after. `None`: it ended, but
    /// the kernel does not tell us how.
    pub fn until_the_end(&mut self, report: &Report) -> Result<Option<Exit>> {
        // From here on we mostly wait, and what brought us here takes much more code than waiting.
        let mut busy_until = Instant::now();
        loop {
            if self.held && self.clients.has_foreground() {
                self.held = false;
            }
            if !self.held {
                self.early_words();
            }
            let is_quiet = busy_until <= Instant::now();
            let busy = Some(busy_until).filter(|_| !is_quiet);
            let next = [self.deadline, self.streams.deadline(), self.clients.deadline(), busy];
            let (wanted, next) = (self.wanted(report), next.into_iter().flatten().min());
            let happened = if is_quiet { wanted.rest(next)? } else { wanted.wait(next)? };
            if !happened.is_empty() {
                busy_until = Instant::now() + QUIET;
            }
            let mut ended = false;
            for (source, events) in happened {
                ended |= source == Source::Process;
                self.act(source, events);
            }
            self.clients.forget_gone();
            if ended {
                let exit = self.process.reap().ok();
                self.drain();
                return Ok(exit);
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.deadline = None;
                self.timed_out = self.process.signal(Signal::KILL).is_ok();
            }
        }
    }

    fn wanted<'fd>(&'fd self, report: &'fd Report) -> Wanted<'fd, Source> {
        let mut wanted = Wanted::default();
        wanted.add(Source::Signal, &self.signals, PollFlags::POLLIN);
        for (index, control) in self.controls.iter().enumerate() {
            wanted.add(Source::Control(index), &control.fifo, PollFlags::POLLIN);
        }
        if let Some(relay) = &self.relay {
            wanted.add_borrowed(Source::Relay, relay.descriptor(), PollFlags::POLLIN);
        }
        if let Some(door) = self.clients.listener() {
            wanted.add_borrowed(Source::Door, door, PollFlags::POLLIN);
        }
        for (index, client, events) in self.clients.wanted(self.streams.wants_input()) {
            wanted.add_borrowed(Source::Client(index), client, events);
        }
        match self.streams.writable() {
            Some((stdin, true)) => wanted.add_borrowed(Source::Input, stdin, PollFlags::POLLOUT),
            // Only to notice that a pipe's reader went; a terminal would report its hang-ups here without end.
            Some((stdin, false)) if !self.streams.has_terminal() => {
                wanted.add_borrowed(Source::Input, stdin, PollFlags::empty());
            }
            _ => {}
        }
        if let Some(memory) = self.memory.descriptor() {
            wanted.add_borrowed(Source::Memory, memory, PollFlags::POLLPRI);
        }
        if self.held {
            if let Some(report) = report.descriptor() {
                wanted.add_borrowed(Source::Report, report, PollFlags::empty());
            }
            return wanted;
        }
        wanted.add(Source::Process, &self.process, PollFlags::POLLIN);
        if self.clients.has_room() {
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(output) = self.streams.readable(stream) {
                    wanted.add_borrowed(Source::Output(stream), output, PollFlags::POLLIN);
                }
            }
        }
        wanted
    }

    fn act(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Process => {}
            Source::Signal => self.signals(),
            Source::Output(stream) => {
                self.output(stream);
            }
            Source::Input if events.intersects(PollFlags::POLLERR) => self.streams.close_stdin(),
            Source::Input => self.streams.push(),
            Source::Door => self.clients.accept(),
            Source::Client(index) => self.client(index, events),
            Source::Relay => self.relay.iter().for_each(Relay::pass_on),
            Source::Control(index) => {
                for order in self.controls[index].read() {
                    match order {
                        Order::Resize(rows, columns) => self.streams.resize(rows, columns),
                        Order::ReopenLog => self.log.reopen(),
                    }
                }
            }
            Source::Memory => {
                self.memory.look();
            }
            // Its reader went: nobody will attach.
            Source::Report => self.held = false,
        }
    }

    /// Passes on what one read brings: to the log, then to the clients.
    fn output(&mut self, stream: Stream) -> usize {
        // One byte before, for the stream's number: the clients' packet needs no copy.
        let mut framed = [0; packet::OUTPUT_MAX + 1];
        let Arrived::Bytes(count) = self.streams.read(stream, &mut framed[1..]) else { return 0 };
        self.log.keep(stream, &framed[1..=count]);
        self.clients.output(stream, &mut framed[..=count]);
        count
    }

    /// Passes on what was said early, now that there is somebody to hear it.
    fn early_words(&mut self) {
        for words in std::mem::take(&mut self.early).chunks(packet::OUTPUT_MAX) {
            self.log.keep(Stream::Stderr, words);
            self.clients.output(Stream::Stderr, &mut [&[0], words].concat());
        }
    }

    /// Passes on what is left in the pipes.
    fn drain(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut total = 0;
            while total < DRAIN_MAX {
                match self.output(stream) {
                    0 => break,
                    count => total += count,
                }
            }
        }
        self.log.finish();
    }

    fn client(&mut self, index: usize, events: PollFlags) {
        if events.contains(PollFlags::POLLOUT) {
            self.clients.flush(index);
        }
        if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            let (last, typed) = self.clients.hang_up(index);
            self.streams.give(&last);
            match self.input {
                InputEnds::Typist if typed && !self.streams.has_terminal() => self.streams.end_input(),
                InputEnds::Anybody => self.streams.end_input(),
                InputEnds::Typist | InputEnds::Nobody => {}
            }
        } else if events.contains(PollFlags::POLLIN) {
            match self.clients.read(index) {
                Typed::Input(input) => self.streams.give(&input),
                Typed::End if self.input != InputEnds::Nobody => self.streams.end_input(),
                Typed::End | Typed::Nothing => {}
            }
        }
    }

    /// Passes a request to end on to the container, as conmon does, and reaps whoever else became our child: the nearest
    /// subreaper gets every orphan.
    fn signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = signal.ssi_signo as i32;
            if matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT)
                && let Ok(signal) = Signal::from_number(number)
            {
                let _ = self.process.signal(signal);
            }
        }
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, look) {
            match status.pid() {
                // The container's own end is taken through its pidfd.
                Some(pid) if pid != self.process.pid() && status != WaitStatus::StillAlive => {
                    let _ = waitpid(pid, None);
                }
                _ => break,
            }
        }
    }

    /// Lets clients take what still waits for them. The foreground's may take its time: it is `program | less`, and we
    /// hold nothing any more that somebody could want.
    pub fn linger(&mut self) -> Result<()> {
        let patience = Instant::now() + LINGER;
        loop {
            self.clients.dismiss();
            let foreground = self.clients.is_behind(true);
            if !foreground && (!self.clients.is_behind(false) || patience <= Instant::now()) {
                return Ok(());
            }
            let mut wanted = Wanted::default();
            for (index, client, events) in self.clients.wanted(false) {
                wanted.add_borrowed(index, client, events);
            }
            for (index, events) in wanted.wait(Some(patience).filter(|_| !foreground))? {
                if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                    self.clients.hang_up(index);
                } else {
                    self.clients.flush(index);
                }
            }
            self.clients.forget_gone();
        }
    }
}
