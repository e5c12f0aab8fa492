//! The bundle's seccomp section, in the words of `linux::seccomp`, compiled.
//!
//! Some calls may be put to a process outside, the *agent* (`SCMP_ACT_NOTIFY`): it gets the descriptor on which the kernel
//! asks. The subtlety is how to send it: the filter is in force from the moment there is a descriptor, and may well forbid
//! sendmsg. So there are two filters. The first asks, and lets all else through; the descriptor is sent; then comes the
//! second with all the other answers. Of several filters' answers the kernel takes the strictest, and to refuse is
//! stricter than to ask, so both together are the one that was wanted.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};
use serde_json::{Value, json};

use crate::linux::seccomp::{self, Action, Architecture, Condition, Filter, Operator, Program, Rule};
use crate::linux::socket;
use crate::runtime::state::OCI_VERSION;

/// What a refused call returns if the bundle does not say.
const DEFAULT_ERRNO: u32 = libc::EPERM as u32;

/// crun's annotation: the agent's socket, for who cannot say it in `linux.seccomp.listenerPath`.
pub const RECEIVER_ANNOTATION: &str = "run.oci.seccomp.receiver";

/// Compiles all of a filter but what is asked of an agent; `None` if it would let everything through.
pub fn compile(asked: &LinuxSeccomp) -> Result<Option<Program>> {
    let mut filter = read(asked)?;
    answer(&mut filter, |action| if action == Action::Notify { Action::Allow } else { action });
    // About asking, and the kernel takes it from no other filter.
    filter.flags &= !libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    if filter.default_action == Action::Allow && filter.rules.iter().all(|rule| rule.action == Action::Allow) {
        return Ok(None);
    }
    seccomp::compile(&filter).context("linux.seccomp").map(Some)
}

/// Who is asked about some calls.
#[derive(Debug)]
pub struct Agent {
    /// The filter that asks, and lets all else through.
    asks: Program,
    socket: OwnedFd,
    metadata: Option<String>,
    /// The container's state, which the agent is told too.
    pub state: Value,
}

impl Agent {
    /// Compiles the filter that asks, and connects to the agent: here, where his socket can be reached.
    pub fn of(asked: &LinuxSeccomp, receiver: Option<&Path>) -> Result<Option<Self>> {
        let path = asked.listener_path().as_deref().or(receiver).filter(|path| !path.as_os_str().is_empty());
        let metadata = asked.listener_metadata().clone();
        ensure!(path.is_some() || metadata.is_none(), "linux.seccomp.listenerMetadata: there is no listenerPath");
        let mut filter = read(asked)?;
        let asks = |rule: &&Rule| rule.action == Action::Notify;
        let is_default = filter.default_action == Action::Notify;
        if !is_default && !filter.rules.iter().any(|rule| asks(&rule)) {
            return Ok(None);
        }
        // The one call by which he gets the descriptor.
        if is_default || filter.rules.iter().filter(asks).any(|rule| rule.syscalls.iter().any(|name| name == "sendmsg"))
        {
            bail!("linux.seccomp: SCMP_ACT_NOTIFY for sendmsg: the agent would be asked before he can hear");
        }
        let path = path.context("linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath")?;
        answer(&mut filter, |action| if action == Action::Notify { action } else { Action::Allow });
        // Of the flags only these two say something about asking; TSYNC and a descriptor exclude each other.
        filter.flags &= libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        let socket = socket::connect(path).with_context(|| format!("the seccomp agent's socket {}", path.display()))?;
        let asks = seccomp::compile(&filter).context("linux.seccomp")?;
        Ok(Some(Self { asks, socket, metadata, state: Value::Null }))
    }

    /// Installs the filter that asks, and sends the agent the descriptor. `pid` is this process as the host counts.
    pub fn ask_from_now_on(&self, pid: i32) -> Result<()> {
        let listener = self.asks.install()?.context("the kernel gave no descriptor for the seccomp agent")?;
        let mut message = json!({ "ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": pid, "state": self.state });
        if let Some(metadata) = &self.metadata {
            message["metadata"] = metadata.as_str().into();
        }
        socket::send(&self.socket, message.to_string().as_bytes(), "seccomp listener", listener.as_fd())
            .context("telling the seccomp agent")
    }
}

/// Gives each action of a filter another.
fn answer(filter: &mut Filter, other: impl Fn(Action) -> Action) {
    filter.default_action = other(filter.default_action);
    for rule in &mut filter.rules {
        rule.action = other(rule.action);
    }
}

fn read(asked: &LinuxSeccomp) -> Result<Filter> {
    let rules = asked.syscalls().iter().flatten().map(|syscall| {
        let rule = Rule {
            syscalls: syscall.names().clone(),
            action: action(syscall.action(), syscall.errno_ret())?,
            conditions: syscall.args().iter().flatten().map(condition).collect::<Result<_>>()?,
        };
        Ok(rule.alternatives())
    });
    let rules: Vec<Vec<Rule>> = rules.collect::<Result<_>>().context("linux.seccomp")?;
    Ok(Filter {
        default_action: action(asked.default_action(), asked.default_errno_ret()).context("linux.seccomp")?,
        rules: rules.into_iter().flatten().collect(),
        architectures: asked.architectures().iter().flatten().copied().filter_map(architecture).collect(),
        flags: asked.flags().iter().flatten().fold(0, |flags, flag| flags | flag_bit(*flag)),
    })
}

fn action(asked: LinuxSeccompAction, number: Option<u32>) -> Result<Action> {
    let takes_number = matches!(asked, LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace);
    ensure!(takes_number || number.is_none(), "{asked} has no errnoRet");
    let number = number.unwrap_or(DEFAULT_ERRNO);
    let short = || u16::try_from(number).with_context(|| format!("errnoRet {number} is too large"));
    Ok(match asked {
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(short()?),
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Action::KillThread,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActTrace => Action::Trace(short()?),
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActNotify => Action::Notify,
    })
}

fn condition(asked: &LinuxSeccompArg) -> Result<Condition> {
    let (operator, value) = match asked.op() {
        LinuxSeccompOperator::ScmpCmpEq => (Operator::Equal, asked.value()),
        LinuxSeccompOperator::ScmpCmpNe => (Operator::NotEqual, asked.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Operator::Less, asked.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Operator::LessOrEqual, asked.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Operator::Greater, asked.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Operator::GreaterOrEqual, asked.value()),
        // OCI: `value` is the mask, `valueTwo` what must be left under it.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (Operator::MaskedEqual(asked.value()), asked.value_two().unwrap_or(0)),
    };
    let argument = u8::try_from(asked.index()).ok().filter(|index| *index < 6);
    Ok(Condition { argument: argument.with_context(|| format!("argument {}", asked.index()))?, operator, value })
}

/// Those of other machines have no calls here.
fn architecture(asked: Arch) -> Option<Architecture> {
    match asked {
        Arch::ScmpArchX86_64 => Some(Architecture::X86_64),
        Arch::ScmpArchX32 => Some(Architecture::X32),
        Arch::ScmpArchX86 => Some(Architecture::X86),
        Arch::ScmpArchAarch64 => Some(Architecture::Aarch64),
        Arch::ScmpArchArm => Some(Architecture::Arm),
        Arch::ScmpArchNative => Some(Architecture::NATIVE),
        _ => None,
    }
}

fn flag_bit(flag: LinuxSeccompFilterFlag) -> u64 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    }
}
