//! Filters as others write them: in JSON, with libseccomp's constants as words.
//!
//! Two dialects share one shape. In a bundle's `config.json` the filter is final (the OCI runtime specification,
//! `linux.seccomp`). In a profile file (`--security-opt seccomp=FILE`; Docker's and Podman's own defaults are such files)
//! a rule may also say when it counts: `includes` and `excludes` name capabilities, architectures, a kernel version; and
//! `archMap` stands in for `architectures`. Who reads the first dialect finds no conditions and needs no circumstances.
//!
//! The subtlety is an inherited one: several conditions of a rule must all hold, *unless* two of them speak of the same
//! argument. Then, says runc and so everybody, each is a rule by itself. (`personality` is 0, or 8, or …)

use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::{Action, Architecture, Condition, Filter, Operator, Rule};
use crate::linux::caps::Capability;

/// What the conditions of a profile's rules are held against.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The capabilities that the program may have, as a mask by number.
    pub capabilities: u64,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// The machine.
    pub architecture: Architecture,
}

impl Circumstances {
    /// This machine, and a program that may have `capabilities`.
    pub fn here(capabilities: u64) -> Result<Self> {
        let name = nix::sys::utsname::uname().context("asking for the kernel's version")?;
        let kernel = version(&name.release().to_string_lossy())?;
        Ok(Self { capabilities, kernel, architecture: Architecture::NATIVE })
    }
}

impl Filter {
    /// Reads either dialect; rules that do not count in these circumstances are left out.
    ///
    /// Errors name the place: `syscalls[3]: args[0]: op: …`.
    pub fn from_json(filter: &Value, circumstances: &Circumstances) -> Result<Self> {
        let default_action = action(filter, "defaultAction", "defaultErrnoRet")?;
        let mut rules = Vec::new();
        for (index, syscall) in list(filter, "syscalls")?.iter().enumerate() {
            let place = || format!("syscalls[{index}]");
            if counts(syscall, circumstances).with_context(place)? {
                rules.extend(rule(syscall).with_context(place)?);
            }
        }
        let mut flags = 0;
        match filter.get("flags") {
            // Left to the runtime, it is what runc and Docker choose; see `profile`.
            None | Some(Value::Null) => flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            Some(_) => {
                for name in strings(filter, "flags")? {
                    flags |= flag(name)?;
                }
            }
        }
        Ok(Self { default_action, rules, architectures: architectures(filter, circumstances.architecture)?, flags })
    }

    /// The filter as a bundle has it.
    pub fn to_json(&self) -> Value {
        let syscalls: Vec<Value> = self.rules.iter().map(rule_to_json).collect();
        let names = FLAGS.iter().filter(|(_, bit)| self.flags & bit != 0).map(|(name, _)| *name);
        let mut filter = json!({
            "architectures": self.architectures.iter().map(|one| architecture_name(*one)).collect::<Vec<_>>(),
            "syscalls": syscalls,
        });
        // No word means this one flag, as in `from_json`; and runc before 1.2 refuses any word.
        if self.flags != libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW {
            filter["flags"] = names.collect::<Vec<_>>().into();
        }
        put_action(&mut filter, self.default_action, "defaultAction", "defaultErrnoRet");
        filter
    }
}

/// Whether a rule's `includes` and `excludes` fit.
fn counts(syscall: &Value, here: &Circumstances) -> Result<bool> {
    let empty = Value::Null;
    let includes = syscall.get("includes").unwrap_or(&empty);
    let excludes = syscall.get("excludes").unwrap_or(&empty);
    let held = |name: &&str| Capability::from_str(name).is_ok_and(|known| here.capabilities & known.bit() != 0);
    let machine = match here.architecture {
        Architecture::X86_64 => "amd64",
        Architecture::X32 => "x32",
        Architecture::X86 => "x86",
        Architecture::Aarch64 => "arm64",
        Architecture::Arm => "arm",
    };
    let young_enough = |condition: &Value| match condition.get("minKernel").and_then(Value::as_str) {
        None => Ok(None),
        Some(least) => version(least).map(|least| Some(here.kernel >= least)),
    };

    let wanted_machines = strings(includes, "arches")?;
    Ok((wanted_machines.is_empty() || wanted_machines.contains(&machine))
        && strings(includes, "caps")?.iter().all(held)
        && young_enough(includes)?.unwrap_or(true)
        && !strings(excludes, "arches")?.contains(&machine)
        && !strings(excludes, "caps")?.iter().any(held)
        && !young_enough(excludes)?.unwrap_or(false))
}

/// One entry of `syscalls`: usually one rule, see the head of this file.
fn rule(syscall: &Value) -> Result<Vec<Rule>> {
    let action = action(syscall, "action", "errnoRet")?;
    let mut syscalls: Vec<String> = strings(syscall, "names")?.into_iter().map(Into::into).collect();
    // Docker's first profiles had one name a rule.
    syscalls.extend(syscall.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(Into::into));
    if syscalls.is_empty() {
        bail!("names: no system call is named");
    }
    let mut conditions = Vec::new();
    for (index, argument) in list(syscall, "args")?.iter().enumerate() {
        conditions.push(condition(argument).with_context(|| format!("args[{index}]"))?);
    }
    Ok(Rule { syscalls, action, conditions }.alternatives())
}

impl Rule {
    /// What a rule means to OCI's runtimes: itself; or, if two conditions speak of one argument, as many rules as it has
    /// conditions.
    pub fn alternatives(self) -> Vec<Rule> {
        let Rule { syscalls, action, conditions } = &self;
        let twice = |one: &Condition| conditions.iter().filter(|other| other.argument == one.argument).count() > 1;
        if !conditions.iter().any(twice) {
            return vec![self];
        }
        let alone = |&condition| Rule { syscalls: syscalls.clone(), action: *action, conditions: vec![condition] };
        conditions.iter().map(alone).collect()
    }
}

fn condition(argument: &Value) -> Result<Condition> {
    let index = number(argument, "index")?.ok_or_else(|| anyhow!("index: missing"))?;
    let first = number(argument, "value")?.unwrap_or(0);
    let second = number(argument, "valueTwo")?.unwrap_or(0);
    let (operator, value) = match argument.get("op").and_then(Value::as_str).unwrap_or_default() {
        "SCMP_CMP_EQ" => (Operator::Equal, first),
        "SCMP_CMP_NE" => (Operator::NotEqual, first),
        "SCMP_CMP_LT" => (Operator::Less, first),
        "SCMP_CMP_LE" => (Operator::LessOrEqual, first),
        "SCMP_CMP_GT" => (Operator::Greater, first),
        "SCMP_CMP_GE" => (Operator::GreaterOrEqual, first),
        "SCMP_CMP_MASKED_EQ" => (Operator::MaskedEqual(first), second),
        other => bail!("op: unknown comparison {other:?}"),
    };
    Ok(Condition { argument: u8::try_from(index).unwrap_or(u8::MAX), operator, value })
}

fn action(object: &Value, key: &str, errno_key: &str) -> Result<Action> {
    let errno = number(object, errno_key)?.unwrap_or(libc::EPERM as u64);
    let errno = u16::try_from(errno).map_err(|_| anyhow!("{errno_key}: {errno} is no errno"))?;
    Ok(match object.get(key).and_then(Value::as_str).unwrap_or_default() {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(errno),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_NOTIFY" => Action::Notify,
        other => bail!("{key}: unknown action {other:?}"),
    })
}

fn put_action(object: &mut Value, action: Action, key: &str, errno_key: &str) {
    let (word, number) = match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Errno(number) => ("SCMP_ACT_ERRNO", Some(number)),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::Trace(number) => ("SCMP_ACT_TRACE", Some(number)),
        Action::Log => ("SCMP_ACT_LOG", None),
        Action::Notify => ("SCMP_ACT_NOTIFY", None),
    };
    object[key] = word.into();
    if let Some(number) = number {
        object[errno_key] = number.into();
    }
}

fn rule_to_json(rule: &Rule) -> Value {
    let arguments = rule.conditions.iter().map(|condition| {
        let Condition { argument, operator, value } = *condition;
        let (word, first, second) = match operator {
            Operator::Equal => ("SCMP_CMP_EQ", value, None),
            Operator::NotEqual => ("SCMP_CMP_NE", value, None),
            Operator::Less => ("SCMP_CMP_LT", value, None),
            Operator::LessOrEqual => ("SCMP_CMP_LE", value, None),
            Operator::Greater => ("SCMP_CMP_GT", value, None),
            Operator::GreaterOrEqual => ("SCMP_CMP_GE", value, None),
            Operator::MaskedEqual(mask) => ("SCMP_CMP_MASKED_EQ", mask, Some(value)),
        };
        let mut argument = json!({ "index": argument, "value": first, "op": word });
        if let Some(second) = second {
            argument["valueTwo"] = second.into();
        }
        argument
    });
    let mut entry = json!({ "names": rule.syscalls });
    if !rule.conditions.is_empty() {
        entry["args"] = arguments.collect();
    }
    put_action(&mut entry, rule.action, "action", "errnoRet");
    entry
}

/// `architectures` (those of other machines are passed over), or this machine's entry of `archMap`.
fn architectures(filter: &Value, machine: Architecture) -> Result<Vec<Architecture>> {
    let mut names = strings(filter, "architectures")?;
    for entry in list(filter, "archMap")? {
        let name = entry.get("architecture").and_then(Value::as_str).unwrap_or_default();
        if name == architecture_name(machine) {
            names.push(name);
            names.extend(strings(entry, "subArchitectures")?);
        }
    }
    let mut known: Vec<Architecture> = Vec::new();
    for name in names {
        if !name.starts_with("SCMP_ARCH_") {
            bail!("architectures: unknown architecture {name:?}");
        }
        known.extend(machine.with_relatives().into_iter().find(|one| architecture_name(*one) == name));
    }
    Ok(known)
}

fn architecture_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "SCMP_ARCH_X86_64",
        Architecture::X32 => "SCMP_ARCH_X32",
        Architecture::X86 => "SCMP_ARCH_X86",
        Architecture::Aarch64 => "SCMP_ARCH_AARCH64",
        Architecture::Arm => "SCMP_ARCH_ARM",
    }
}

const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
];

fn flag(name: &str) -> Result<u64> {
    let known = FLAGS.iter().find(|(known, _)| *known == name);
    known.map(|(_, bit)| *bit).ok_or_else(|| anyhow!("flags: unknown flag {name:?}"))
}

/// `6.18.3-debian` is (6, 18).
fn version(text: &str) -> Result<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("{text:?} is no kernel version"),
    }
}

/// The array `object[key]`; absent and null are empty.
fn list<'a>(object: &'a Value, key: &str) -> Result<&'a [Value]> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => bail!("{key}: not a list: {other}"),
    }
}

fn strings<'a>(object: &'a Value, key: &str) -> Result<Vec<&'a str>> {
    let text = |value: &'a Value| value.as_str().ok_or_else(|| anyhow!("{key}: not a string: {value}"));
    list(object, key)?.iter().map(text).collect()
}

fn number(object: &Value, key: &str) -> Result<Option<u64>> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| anyhow!("{key}: not a number from 0 to 2^64-1: {value}")),
    }
}
