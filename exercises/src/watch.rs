//! Checking again whenever a file is saved, with keys for what one may want meanwhile.
//!
//! The kernel tells of saved files (inotify), the terminal of keys; we wait for both at once. Editors save in different
//! ways, some by a new file that takes the old one's name: so the directory is watched, and a burst of events is one.

use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use podling::hint::hinted;

use crate::catalogue::{Catalogue, Exercise};
use crate::flow::flowed;
use crate::folder::Folder;
use crate::tell;

/// How long an editor may take to save.
const BURST: Duration = Duration::from_millis(100);

/// The terminal, giving each key as it comes; as it was, when this is dropped.
struct Keys(Termios);

impl Keys {
    fn begin() -> Result<Self> {
        let before = tcgetattr(stdin())
            .map_err(|_| hinted("watching needs a terminal for its keys", "podling-learn check, without --watch"))?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(stdin(), SetArg::TCSANOW, &now).context("setting the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Watches until `q`.
pub fn watch<'a>(catalogue: &'a Catalogue, folder: &mut Folder, mut exercise: &'a Exercise) -> Result<u8> {
    let _keys = Keys::begin()?;
    let mut is_new = false;
    loop {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("inotify_init1")?;
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(&folder.place(exercise), events).context("watching the exercise's directory")?;
        clear();
        let mut status = 1;
        if std::mem::take(&mut is_new) {
            // Nothing is written yet that could be checked; first one reads.
            print!("{}", tell::begun(exercise, folder)?);
        } else {
            println!("{} · checking …", exercise.place().display());
            let checked = crate::check(folder, exercise)?;
            clear();
            println!("{}\n", exercise.place().display());
            print!("{}", tell::checked(&checked, exercise, crate::next(catalogue, Some(folder))));
            status = checked.outcome.status();
        }
        let explain = if folder.has_passed(exercise) { "  [e] explain" } else { "" };
        println!("\n[h] hint{explain}  [t] task  [c] check  [n] next  [q] quit");
        stdout().flush()?;
        match wait(&inotify, folder, exercise)? {
            Wish::Again => {}
            Wish::Quit => return Ok(status),
            Wish::Next => match crate::next(catalogue, Some(folder)) {
                None => {
                    println!("You have passed all exercises.");
                    return Ok(0);
                }
                Some(next) => {
                    folder.start(catalogue, next)?;
                    (exercise, is_new) = (next, true);
                }
            },
        }
    }
}

enum Wish {
    Again,
    Next,
    Quit,
}

/// Waits for a saved file or a key.
fn wait(inotify: &Inotify, folder: &mut Folder, exercise: &Exercise) -> Result<Wish> {
    loop {
        let input = stdin();
        let mut both = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut both, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.context("waiting for a saved file or a key")?,
        };
        let [saved, key] = both.map(|fd| fd.any().unwrap_or(false));
        if saved && ours(inotify, exercise)? {
            return Ok(Wish::Again);
        }
        if key {
            let mut byte = [0];
            if stdin().read(&mut byte)? == 0 {
                return Ok(Wish::Quit);
            }
            match byte[0] {
                b'q' | 4 => return Ok(Wish::Quit),
                b'n' => return Ok(Wish::Next),
                b'c' | b'\n' => return Ok(Wish::Again),
                b'h' => print!("\n{}", crate::hint(folder, exercise)?),
                b'e' if folder.has_passed(exercise) => print!("\n{}", flowed(&exercise.text("explain.md")?)),
                b't' => print!("\n{}", tell::begun(exercise, folder)?),
                _ => {}
            }
            stdout().flush()?;
        }
    }
}

/// Whether one of the student's files was saved; what an editor writes beside it is no answer.
fn ours(inotify: &Inotify, exercise: &Exercise) -> Result<bool> {
    let (files, mut found, end) = (exercise.files()?, false, Instant::now() + BURST);
    loop {
        for event in inotify.read_events().unwrap_or_default() {
            found |= event.name.is_some_and(|name| files.iter().any(|file| name == file.as_str()));
        }
        let left = end.saturating_duration_since(Instant::now());
        let mut more = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        if left.is_zero() || poll(&mut more, PollTimeout::try_from(left)?)? == 0 {
            return Ok(found);
        }
    }
}

fn clear() {
    print!("\x1b[2J\x1b[H");
    let _ = stdout().flush();
}
