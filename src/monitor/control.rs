//! Orders through a fifo, one a line, as conmon takes them: `1 ROWS COLUMNS` resizes the terminal, `2 0 0` goes on in a
//! new log file. What cannot be understood is ignored: anybody with the file's permission can write to it. conmon has a
//! second fifo, for sizes only.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::manner::Fifo;
use crate::trace::{self, Topic};

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The terminal's size is now so many rows and columns.
    Resize(u16, u16),
    /// The log was moved away.
    ReopenLog,
}

/// A fifo.
pub struct Control {
    told: Fifo,
    pub(super) fifo: File,
    /// An order that has not ended yet.
    begun: Vec<u8>,
}

/// The longest line that could be an order.
const LINE_MAX: usize = 64;

impl Control {
    /// Makes and opens it. Opened for writing too: then it never reports that its last writer went.
    pub fn open(told: Fifo) -> Result<Self> {
        trace::ask(Topic::Monitor, "mkfifo", format_args!("{}", told.path.display()), || {
            match mkfifo(&told.path, Mode::from_bits_truncate(0o600)) {
                Ok(()) | Err(Errno::EEXIST) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .context("making the control fifo")?;
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&told.path);
        Ok(Self { told, fifo: fifo.context("opening the control fifo")?, begun: Vec::new() })
    }

    /// The orders that have come.
    pub fn read(&mut self) -> Vec<Order> {
        let mut buffer = [0; 256];
        let Ok(count) = self.fifo.read(&mut buffer) else { return Vec::new() };
        let mut orders = Vec::new();
        for &byte in &buffer[..count] {
            if byte == b'\n' {
                orders.extend(self.parse());
                self.begun.clear();
            } else if self.begun.len() <= LINE_MAX {
                self.begun.push(byte);
            }
        }
        orders
    }

    /// Removes its name, unless it stays.
    pub fn close(&self) {
        if !self.told.stays {
            let _ = fs::remove_file(&self.told.path);
        }
    }

    fn parse(&self) -> Option<Order> {
        let mut numbers = std::str::from_utf8(&self.begun).ok()?.split_ascii_whitespace().map(str::parse::<u16>);
        let mut next = || numbers.next()?.ok();
        let kind = if self.told.only_sizes { 1 } else { next()? };
        match (kind, next()?, next()?) {
            (1, rows, columns) => Some(Order::Resize(rows, columns)),
            (2, _, _) => Some(Order::ReopenLog),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn orders_are_found_between_nonsense_and_across_reads() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control");
        let mut control = Control::open(Fifo { path, only_sizes: false, stays: false }).expect("a fifo");
        let mut writer = OpenOptions::new().write(true).open(&control.told.path).expect("a writer");
        let long = "9".repeat(1000);
        writer.write_all(format!("1 24 80\nrubbish\n1 -1 80\n{long}\n2 0 0\n1 50").as_bytes()).expect("room");
        let mut orders = Vec::new();
        for _ in 0..8 {
            orders.extend(control.read());
        }
        assert_eq!(orders, [Order::Resize(24, 80), Order::ReopenLog]);
        writer.write_all(b" 132\n").expect("room");
        assert_eq!(control.read(), [Order::Resize(50, 132)]);
    }
}
