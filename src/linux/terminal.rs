//! A person's terminal: raw while a container's program reads from it, and restored however we end.
//!
//! In raw mode the kernel passes each key on as it comes: Ctrl-C is a byte, not a signal, and the echo is the container's
//! business. A terminal left raw is useless to the shell that gets it back.
//!
//! The subtlety is "however": returning and unwinding drop the guard, but the shipped program aborts on a panic, so the
//! state is also kept where a panic hook finds it. Signals are their reader's business (it returns, and drops the guard).

use std::io::{Stdin, stdin};
use std::os::fd::AsFd;
use std::sync::{Mutex, Once};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::trace::{self, Topic};

/// The terminal's state from before the only [`Raw`] that lives.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal on standard input in raw mode; dropping it restores it.
pub struct Raw {
    terminal: Stdin,
}

impl Raw {
    /// Makes the terminal on standard input raw. `ENOTTY`: it is none.
    pub fn begin() -> nix::Result<Self> {
        let terminal = stdin();
        let before = tcgetattr(&terminal)?;
        if let Ok(mut kept) = BEFORE.lock() {
            *kept = Some(before);
        }
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                next(panic);
            }));
        });
        let raw = Self { terminal };
        raw.again()?;
        Ok(raw)
    }

    /// Makes it raw once more, after a stop and continue in which the shell put it back.
    pub fn again(&self) -> nix::Result<()> {
        trace::ask(Topic::Monitor, "tcsetattr", format_args!("0 raw"), || {
            let mut state = tcgetattr(&self.terminal)?;
            cfmakeraw(&mut state);
            tcsetattr(&self.terminal, SetArg::TCSANOW, &state)
        })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // try_lock: a panic hook must not wait.
    if let Ok(mut kept) = BEFORE.try_lock()
        && let Some(before) = kept.take()
    {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &before);
    }
}

/// The character that means end of input on this terminal now, if it reads by lines at all (`ICANON`, termios(3)).
/// Asked of a pty's master, this is the state of its other end.
pub fn end_of_input(terminal: impl AsFd) -> Option<u8> {
    let state = tcgetattr(terminal).ok()?;
    let end = state.control_chars[SpecialCharacterIndices::VEOF as usize];
    (state.local_flags.contains(LocalFlags::ICANON) && end != 0).then_some(end)
}
