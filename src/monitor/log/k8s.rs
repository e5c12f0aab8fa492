//! Kubernetes' log format, which is Podman's `k8s-file`: `TIME stdout F text` a line.
//!
//! `F` is a full line; `P` is a part, and the line goes on in the next entry of the same stream. A part is written as soon
//! as it comes, so that a prompt without newline is seen; its entry ends with a newline that the container did not write.

use super::Stream;
use super::file::LogFile;
use crate::monitor::time::{Clock, Zone};

/// A log in this format.
pub struct K8sFile {
    pub(super) file: LogFile,
    clock: Clock,
}

impl K8sFile {
    /// Writes to `file`.
    pub fn new(file: LogFile) -> Self {
        Self { file, clock: Clock::new(Zone::Local) }
    }

    /// Keeps what one read brought; its lines share one time.
    pub fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let time = self.clock.now();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.file.line(|out| frame(out, time, stream, line));
        }
        self.file.flush();
    }
}

fn frame(out: &mut Vec<u8>, time: &str, stream: Stream, line: &[u8]) {
    let whole = line.ends_with(b"\n");
    for part in [time, " ", stream.name(), if whole { " F " } else { " P " }] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(line);
    if !whole {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_marked_and_ended() {
        let mut out = Vec::new();
        frame(&mut out, "T", Stream::Stdout, b"whole\n");
        frame(&mut out, "T", Stream::Stderr, b"$ ");
        frame(&mut out, "T", Stream::Stdout, b"\n");
        assert_eq!(String::from_utf8_lossy(&out), "T stdout F whole\nT stderr P $ \nT stdout F \n");
    }
}
