//! seccomp: a list of the system calls that a program may make, checked by the kernel at each one.
//!
//! A filter is a small program in the kernel's oldest bytecode (classic BPF, made for packets): it sees the number of the
//! call, the architecture and the six arguments as numbers, and answers with an action. It cannot follow a pointer: what
//! a path says, or what clone3's structure holds, is out of its sight.
//!
//! Here are the words ([`Filter`], [`Rule`], [`Condition`], [`Action`]); `compile` turns them into bytecode, `table`
//! knows the numbers, `profile` is the filter that containers get by default, `json` reads the files in which others
//! write theirs.
//!
//! The subtlety is the order: a filter binds its own installer too, and cannot be taken back. So it is installed last
//! before execve, and must allow execve itself. And without `no_new_privs` installing one needs `CAP_SYS_ADMIN` (else a
//! set-uid program could be run with its setuid(2) made to fail, and not notice).

mod compile;
#[cfg(feature = "json")]
mod json;
mod profile;
mod table;

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::errno::Errno;

pub use compile::compile;
#[cfg(feature = "json")]
pub use json::Circumstances;
pub use profile::profile;

use crate::sys;
use crate::trace::{self, Topic};

/// What a program may ask of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The answer to a call that no rule speaks of.
    pub default_action: Action,
    /// Tried in order; the first that fits answers.
    pub rules: Vec<Rule>,
    /// The architectures whose calls the rules are about; this machine's own is always among them. A call of another
    /// one kills the process: it would bypass every rule.
    pub architectures: Vec<Architecture>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
}

/// One answer for some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of calls. A name that an architecture does not have says nothing there.
    pub syscalls: Vec<String>,
    /// The answer.
    pub action: Action,
    /// All of these must hold for the rule to fit.
    pub conditions: Vec<Condition>,
}

/// Something that holds of one argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How to compare, without sign, all 64 bits (on 32-bit architectures, the lower 32).
    pub operator: Operator,
    /// With what.
    pub value: u64,
}

/// How an argument is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// argument = value
    Equal,
    /// argument ≠ value
    NotEqual,
    /// argument < value
    Less,
    /// argument ≤ value
    LessOrEqual,
    /// argument > value
    Greater,
    /// argument ≥ value
    GreaterOrEqual,
    /// argument & mask = value
    MaskedEqual(u64),
}

/// The kernel's answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Do it.
    Allow,
    /// Do not; return this errno (0 to 4095).
    Errno(u16),
    /// Kill the whole process with SIGSYS.
    KillProcess,
    /// Kill the calling thread alone; what is left of its process usually hangs.
    KillThread,
    /// Send SIGSYS, which the program may catch.
    Trap,
    /// Ask the tracer (ptrace), which sees this number; without a tracer `ENOSYS`.
    Trace(u16),
    /// Do it, and log it.
    Log,
    /// Ask whoever holds the descriptor that [`Program::install`] returns.
    Notify,
}

/// Whose numbering of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit pointers. Its numbers are marked ones of x86_64, and hardly a kernel answers them any
    /// more: a filter for x86_64 answers all of them with `ENOSYS`, as such a kernel does.
    X32,
    /// 32-bit x86 (i386).
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

impl Architecture {
    /// The one that podling was compiled for.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// Those whose programs this machine may run too.
    pub fn with_relatives(self) -> Vec<Self> {
        match self {
            Self::X86_64 | Self::X32 | Self::X86 => vec![Self::X86_64, Self::X86, Self::X32],
            Self::Aarch64 | Self::Arm => vec![Self::Aarch64, Self::Arm],
        }
    }

    /// The number of a system call here, if it exists here.
    pub fn number(self, syscall: &str) -> Option<u32> {
        let row = table::CALLS.binary_search_by_key(&syscall, |(name, _)| name).ok()?;
        u32::try_from(table::CALLS[row].1[self.column()]).ok()
    }

    /// Its column in the table.
    fn column(self) -> usize {
        match self {
            Self::X86_64 | Self::X32 => 0,
            Self::X86 => 1,
            Self::Aarch64 => 2,
            Self::Arm => 3,
        }
    }
}

/// A filter in bytecode, ready to be installed.
#[derive(Debug)]
pub struct Program {
    instructions: Vec<libc::sock_filter>,
    flags: u64,
}

impl Program {
    /// Installs it on this thread, for good; returns the descriptor on which [`Action::Notify`] asks, if the filter
    /// has such a rule.
    ///
    /// Errors: `EACCES` without both `no_new_privs` and `CAP_SYS_ADMIN`.
    pub fn install(&self) -> Result<Option<OwnedFd>> {
        let length = self.instructions.len();
        trace::ask(Topic::Security, "seccomp", format_args!("SECCOMP_SET_MODE_FILTER {length} instructions"), || {
            sys::seccomp_filter(&self.instructions, self.flags)
        })
        .map_err(|errno| match errno {
            Errno::EACCES => anyhow::Error::new(errno).context("it needs no_new_privs or CAP_SYS_ADMIN"),
            other => other.into(),
        })
        .context("installing the seccomp filter")
    }
}

#[cfg(all(test, feature = "json"))]
mod tests;
