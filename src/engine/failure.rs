//! The failures that a caller tells apart, each with the exit status that the field gives it.
//!
//! Everything else is an `anyhow::Error` whose context says what was being tried. [`status`] finds the exit status of
//! either: 127 when the container's program is not there, 126 when it cannot be executed, 125 for our own failures.

use std::fmt;

/// A failure that some caller matches on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No container has this name or id.
    NoSuchContainer(String),
    /// Several ids begin so.
    Ambiguous(String),
    /// Another container (its id) has the name.
    NameInUse {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// No image by this name is here, and it was not to be (or could not be) pulled.
    NoSuchImage(String),
    /// No volume has this name.
    NoSuchVolume(String),
    /// Nothing has this name.
    NoSuchObject(String),
    /// The container's state does not allow it.
    WrongState {
        /// The container's name.
        name: String,
        /// Its state.
        state: String,
        /// What was asked, as the rest of a sentence: "can only kill running containers".
        wanted: &'static str,
    },
    /// What was asked for makes no sense, or not together.
    Invalid(String),
    /// The image knows no user or group of this name (the whole message): the program cannot be executed as asked.
    NoSuchUser(String),
    /// The container's program was found but cannot be executed.
    NotExecutable(String),
    /// The container's program was not found.
    ProgramNotFound(String),
    /// Something else the runtime, the monitor or the network helper said.
    Start(String),
}

impl Failure {
    /// The exit status that the field gives it.
    pub fn status(&self) -> i32 {
        match self {
            Self::ProgramNotFound(_) => 127,
            Self::NotExecutable(_) | Self::NoSuchUser(_) => 126,
            _ => 125,
        }
    }

    /// Sorts what an OCI runtime said by its text, which is part of the field's contract: "executable file not found"
    /// means 127, a refused permission 126; but only where it speaks of executing, or of where to execute.
    pub fn from_runtime(message: &str) -> Self {
        let lower = message.to_lowercase();
        let program = lower.contains("exec") || lower.contains("working directory");
        let missing = ["executable file not found", "executable not found", "no such file or directory"];
        let refused = ["permission denied", "operation not permitted", "exec format error", "is a directory"];
        let said = message.trim().to_string();
        if program && missing.iter().any(|text| lower.contains(text)) {
            Self::ProgramNotFound(said)
        } else if program && refused.iter().any(|text| lower.contains(text)) {
            Self::NotExecutable(said)
        } else {
            Self::Start(said)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchContainer(name) => {
                write!(f, "no container with name or ID \"{name}\" found: no such container")
            }
            Self::Ambiguous(prefix) => write!(f, "more than one container has an ID that begins with \"{prefix}\""),
            Self::NameInUse { name, id } => {
                write!(f, "the container name \"{name}\" is already in use by {id}: remove it or use --replace")
            }
            Self::NoSuchImage(name) => write!(f, "{name}: image not known"),
            Self::NoSuchVolume(name) => write!(f, "no volume with name \"{name}\" found: no such volume"),
            Self::NoSuchObject(name) => write!(f, "no such object: \"{name}\""),
            Self::WrongState { name, state, wanted } => write!(f, "{wanted}: {name} is {state}"),
            Self::Invalid(said)
            | Self::NoSuchUser(said)
            | Self::NotExecutable(said)
            | Self::ProgramNotFound(said)
            | Self::Start(said) => f.write_str(said),
        }
    }
}

impl std::error::Error for Failure {}

/// The exit status of any failure: what a [`Failure`] in its chain says, else 125.
pub fn status(error: &anyhow::Error) -> i32 {
    error.chain().find_map(|cause| cause.downcast_ref::<Failure>()).map_or(125, Failure::status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_said_decides_between_126_and_127() {
        let status = |text| Failure::from_runtime(text).status();
        assert_eq!(status("crun: executable file `x` not found in $PATH: No such file or directory"), 127);
        assert_eq!(status("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(status("exec: \"/etc/passwd\": permission denied"), 126);
        assert_eq!(status("entering the working directory /x: No such file or directory"), 127);
        assert_eq!(status("making the cgroup /sys/fs/cgroup/a: Permission denied"), 125);
        assert_eq!(status("mounting /proc: Invalid argument"), 125);
    }
}
