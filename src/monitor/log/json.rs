//! Docker's log format, `json-file`: `{"log":"text\n","stream":"stdout","time":"…Z"}` a line.
//!
//! JSON holds text, so a line waits for its end (or 16 KiB) here: a character must not be cut by where a read ended. What
//! is not UTF-8 becomes U+FFFD, as Docker has it.

use super::file::LogFile;
use super::{Begun, Stream};
use crate::monitor::time::{Clock, Zone};

/// Docker's limit for one entry.
const ENTRY_MAX: usize = 16 * 1024;

/// A log in this format.
pub struct JsonFile {
    pub(super) file: LogFile,
    clock: Clock,
    stdout: Begun,
    stderr: Begun,
}

impl JsonFile {
    /// Writes to `file`.
    pub fn new(file: LogFile) -> Self {
        Self { file, clock: Clock::new(Zone::Utc), stdout: Begun::default(), stderr: Begun::default() }
    }

    /// Keeps what one read brought.
    pub fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let Self { file, clock, stdout, stderr } = self;
        let time = clock.now();
        let begun = if stream == Stream::Stdout { stdout } else { stderr };
        begun.split(bytes, ENTRY_MAX, |line, whole| file.line(|out| frame(out, time, stream, line, whole)));
        file.flush();
    }

    /// Keeps the last lines, which had no end.
    pub fn finish(&mut self) {
        let Self { file, clock, stdout, stderr } = self;
        let time = clock.now();
        stdout.finish(|line, whole| file.line(|out| frame(out, time, Stream::Stdout, line, whole)));
        stderr.finish(|line, whole| file.line(|out| frame(out, time, Stream::Stderr, line, whole)));
        file.flush();
    }
}

fn frame(out: &mut Vec<u8>, time: &str, stream: Stream, line: &[u8], whole: bool) {
    let mut text = String::from_utf8_lossy(line);
    if whole {
        text.to_mut().push('\n');
    }
    out.extend_from_slice(b"{\"log\":");
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, &text);
    for part in [",\"stream\":\"", stream.name(), "\",\"time\":\"", time, "\"}\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_of_json() {
        let mut out = Vec::new();
        frame(&mut out, "T", Stream::Stderr, b"say \"hi\"\t\xff", true);
        let expected = "{\"log\":\"say \\\"hi\\\"\\t\u{fffd}\\n\",\"stream\":\"stderr\",\"time\":\"T\"}\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
