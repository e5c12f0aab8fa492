//! The bundle's seccomp section, in the words of `linux::seccomp`, compiled.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

use crate::linux::seccomp::{self, Action, Architecture, Condition, Filter, Operator, Program, Rule};

/// What a refused call returns if the bundle does not say.
const DEFAULT_ERRNO: u32 = libc::EPERM as u32;

/// Compiles a filter; `None` if it would let everything through.
pub fn compile(asked: &LinuxSeccomp) -> Result<Option<Program>> {
    if asked.listener_path().is_some() {
        bail!("linux.seccomp.listenerPath: a seccomp agent is not supported by this runtime");
    }
    let rules = asked.syscalls().iter().flatten().map(|syscall| {
        let rule = Rule {
            syscalls: syscall.names().clone(),
            action: action(syscall.action(), syscall.errno_ret())?,
            conditions: syscall.args().iter().flatten().map(condition).collect::<Result<_>>()?,
        };
        Ok(rule.alternatives())
    });
    let rules: Vec<Vec<Rule>> = rules.collect::<Result<_>>().context("linux.seccomp")?;
    let filter = Filter {
        default_action: action(asked.default_action(), asked.default_errno_ret())?,
        rules: rules.into_iter().flatten().collect(),
        architectures: asked.architectures().iter().flatten().copied().filter_map(architecture).collect(),
        flags: asked.flags().iter().flatten().fold(0, |flags, flag| flags | flag_bit(*flag)),
    };
    if filter.default_action == Action::Allow && filter.rules.is_empty() {
        return Ok(None);
    }
    seccomp::compile(&filter).context("linux.seccomp").map(Some)
}

fn action(asked: LinuxSeccompAction, number: Option<u32>) -> Result<Action> {
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
        LinuxSeccompAction::ScmpActNotify => bail!("SCMP_ACT_NOTIFY: a seccomp agent is not supported by this runtime"),
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
        // Only with an agent, which we refuse.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    }
}
