//! From a filter to bytecode.
//!
//! ```text
//!       load the architecture
//!       x86_64?  ──no──▶ i386? ──no──▶ kill the process
//!         │ load the number
//!         │ number ≥ 157? ──▶ … ──▶ … ──▶ allow          a binary search over spans of numbers with one answer
//!         │               └─▶ … ──▶ compare arguments ──▶ allow or errno
//! ```
//!
//! Why a search and not a list: the default filter speaks of some 400 calls, and a list of comparisons would cost the
//! last of them 400 instructions each time it is made. Neighbours with one answer are one span (there are about 80), so
//! any call is answered after seven comparisons.
//!
//! Why with these instructions only: since Linux 5.11 the kernel, when a filter is installed, runs it once for each
//! number. If it comes to "allow" without looking at an argument, that call is marked and never filtered again. The
//! kernel's little interpreter for this (`seccomp_is_const_allow`) knows loads of number and architecture, `ja`, `jeq`,
//! `jge`, `jgt`, `jset`, `and` and `ret`; a scratch register or arithmetic before the answer would lose this.
//!
//! The subtlety is that a conditional jump reaches 255 instructions and no further, and only forward. So code is built
//! from the leaves up, when all lengths are known, and a far branch goes through a `ja`, which reaches anywhere.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use libc::sock_filter;
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};

use super::{Action, Architecture, Condition, Filter, Operator, Program, Rule, table};
use crate::trace::{self, Topic};

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

/// The numbers of x32 begin here: those of x86_64 with this bit set.
const X32_BIT: u32 = 0x4000_0000;

/// Numbers from here on are not counted on from the last: arm has a few of its own there.
const PRIVATE: u32 = 0x000f_0000;

/// Offsets in `struct seccomp_data`, which is what a filter sees of a call.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

type Code = Vec<sock_filter>;

/// Turns `filter` into bytecode for the kernel.
///
/// Errors: an argument index above 5, an errno above 4095, more than 4096 instructions.
pub fn compile(filter: &Filter) -> Result<Program> {
    let actions = || filter.rules.iter().map(|rule| rule.action).chain([filter.default_action]);
    for action in actions() {
        ensure!(!matches!(action, Action::Errno(4096..)), "seccomp: no errno is above 4095: {action:?}");
    }
    // So that every jump within a rule is a near one; see `check`.
    let most = 32;
    ensure!(filter.rules.iter().all(|rule| rule.conditions.len() <= most), "seccomp: over {most} conditions in a rule");
    for condition in filter.rules.iter().flat_map(|rule| &rule.conditions) {
        ensure!(condition.argument < 6, "seccomp: a system call has arguments 0 to 5, not {}", condition.argument);
    }
    // Profiles are written for many kernels and architectures, so an unknown name cannot be an error; but it may be a
    // slip of the pen, and whoever listens should hear of it.
    if trace::on() {
        let known = |name: &str| table::CALLS.binary_search_by_key(&name, |(name, _)| name).is_ok();
        for name in filter.rules.iter().flat_map(|rule| &rule.syscalls).filter(|name| !known(name)) {
            trace::say(Topic::Security, "seccomp", format_args!("{name}"), "a system call that podling does not know");
        }
    }

    let mut architectures = filter.architectures.clone();
    architectures.push(Architecture::NATIVE);
    architectures.retain(|&architecture| architecture != Architecture::X32);
    architectures.sort_unstable();
    architectures.dedup();

    let mut code = vec![load(ARCHITECTURE)];
    for architecture in architectures {
        let mut block = vec![load(NUMBER)];
        block.extend(search(&spans(filter, architecture)));
        code.push(jump(BPF_JEQ, audit_number(architecture), 1, 0));
        code.push(always(block.len()));
        code.extend(block);
    }
    code.push(answer(Action::KillProcess));
    ensure!(code.len() <= MOST_INSTRUCTIONS, "seccomp: the filter is too long: {} instructions", code.len());

    let listener =
        if actions().any(|action| action == Action::Notify) { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    Ok(Program { instructions: code, flags: filter.flags | listener })
}

/// What `struct seccomp_data` says of an architecture: its ELF machine, marked as 64-bit, little-endian or both
/// (`linux/audit.h`).
fn audit_number(architecture: Architecture) -> u32 {
    const BITS_64: u32 = 0x8000_0000;
    const LITTLE_ENDIAN: u32 = 0x4000_0000;
    match architecture {
        Architecture::X86_64 | Architecture::X32 => 0x3e | BITS_64 | LITTLE_ENDIAN,
        Architecture::X86 => 0x03 | LITTLE_ENDIAN,
        Architecture::Aarch64 => 0xb7 | BITS_64 | LITTLE_ENDIAN,
        Architecture::Arm => 0x28 | LITTLE_ENDIAN,
    }
}

/// Numbers from `first` up to the next span's first, all answered by the same code.
struct Span {
    first: u32,
    code: Code,
}

/// The whole line of numbers, cut into spans.
fn spans(filter: &Filter, architecture: Architecture) -> Vec<Span> {
    let mut rules: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in &filter.rules {
        for number in rule.syscalls.iter().filter_map(|name| architecture.number(name)) {
            rules.entry(number).or_default().push(rule);
        }
    }
    let bits = match architecture {
        Architecture::X86_64 | Architecture::X32 | Architecture::Aarch64 => 64,
        Architecture::X86 | Architecture::Arm => 32,
    };

    // ANCHOR: unknown
    // A call younger than our table was not refused by whoever wrote the filter: he could not know it. "There is no such
    // call" lets the C library fall back on an older one, where "permission denied" makes programs fail.
    let unknown = match filter.default_action {
        Action::Errno(_) => Action::Errno(libc::ENOSYS as u16),
        other => other,
    };
    // ANCHOR_END: unknown
    let numbers = table::CALLS.iter().filter_map(|(_, numbers)| u32::try_from(numbers[architecture.column()]).ok());
    let first_unknown = numbers.filter(|&number| number < PRIVATE).max().map_or(0, |last| last + 1);
    let unspoken_of = |number| if number < first_unknown { filter.default_action } else { unknown };

    let mut line: BTreeMap<u32, Code> = BTreeMap::new();
    line.insert(0, vec![answer(filter.default_action)]);
    line.insert(first_unknown, vec![answer(unknown)]);
    if architecture == Architecture::X86_64 {
        // Not a matter of the filter's default: with "allow" every rule could be passed by setting one bit.
        line.insert(X32_BIT, vec![answer(Action::Errno(libc::ENOSYS as u16))]);
    }
    for (&number, rules) in &rules {
        line.entry(number + 1).or_insert_with(|| vec![answer(unspoken_of(number + 1))]);
        line.insert(number, decide(rules, bits, filter.default_action));
    }

    let mut spans: Vec<Span> = Vec::new();
    for (first, code) in line {
        if spans.last().is_none_or(|last| last.code != code) {
            spans.push(Span { first, code });
        }
    }
    spans
}

// ANCHOR: search
/// Looks for the span of the number in the accumulator, and runs its code.
fn search(spans: &[Span]) -> Code {
    if let [only] = spans {
        return only.code.clone();
    }
    let (below, above) = spans.split_at(spans.len() / 2);
    let middle = above[0].first;
    let (below, above) = (search(below), search(above));
    let mut code = match u8::try_from(below.len()) {
        Ok(near) => vec![jump(BPF_JGE, middle, near, 0)],
        Err(_) => vec![jump(BPF_JGE, middle, 0, 1), always(below.len())],
    };
    code.extend(below);
    code.extend(above);
    code
}
// ANCHOR_END: search

/// The answer for one call: that of the first rule whose conditions all hold.
fn decide(rules: &[&Rule], bits: u8, default: Action) -> Code {
    let mut code = Code::new();
    for rule in rules {
        // Back to front: each condition must know how much code it jumps over if it does not hold.
        let mut block = vec![answer(rule.action)];
        for condition in rule.conditions.iter().rev() {
            let mut test = check(condition, bits, block.len() as u8);
            test.append(&mut block);
            block = test;
        }
        code.append(&mut block);
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(answer(default));
    code
}

/// Falls through if `condition` holds; else jumps over the `rest` instructions that follow.
///
/// The machine has 32-bit words, so an argument is compared in two halves, the upper first: only if those are equal does
/// the lower one decide. That is at most six instructions, and there are at most 32 conditions, so every jump is near.
fn check(condition: &Condition, bits: u8, rest: u8) -> Code {
    let Condition { argument, operator, value } = *condition;
    // Every architecture that we know is little-endian: the lower half comes first.
    let lower = ARGUMENTS + 8 * u32::from(argument);
    let upper = lower + 4;
    let (low, high) = (value as u32, (value >> 32) as u32);
    let tail = match operator {
        Operator::Equal => vec![load(lower), jump(BPF_JEQ, low, 0, rest)],
        Operator::NotEqual => vec![load(lower), jump(BPF_JEQ, low, rest, 0)],
        Operator::Less => vec![load(lower), jump(BPF_JGE, low, rest, 0)],
        Operator::LessOrEqual => vec![load(lower), jump(BPF_JGT, low, rest, 0)],
        Operator::Greater => vec![load(lower), jump(BPF_JGT, low, 0, rest)],
        Operator::GreaterOrEqual => vec![load(lower), jump(BPF_JGE, low, 0, rest)],
        Operator::MaskedEqual(mask) => vec![load(lower), and(mask as u32), jump(BPF_JEQ, low, 0, rest)],
    };
    if bits == 32 {
        return tail;
    }
    // Where the upper half alone decides, jump past the tail: to `holds`, or over the rest as well.
    let holds = tail.len() as u8;
    let fails = holds + rest;
    let mut code = match operator {
        Operator::Equal => vec![load(upper), jump(BPF_JEQ, high, 0, fails)],
        Operator::NotEqual => vec![load(upper), jump(BPF_JEQ, high, 0, holds)],
        Operator::Less | Operator::LessOrEqual => {
            vec![load(upper), jump(BPF_JGT, high, fails + 1, 0), jump(BPF_JEQ, high, 0, holds)]
        }
        Operator::Greater | Operator::GreaterOrEqual => {
            vec![load(upper), jump(BPF_JGT, high, holds + 1, 0), jump(BPF_JEQ, high, 0, fails)]
        }
        Operator::MaskedEqual(mask) => {
            vec![load(upper), and((mask >> 32) as u32), jump(BPF_JEQ, high, 0, fails)]
        }
    };
    code.extend(tail);
    code
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Loads the word at `offset` of `struct seccomp_data` into the accumulator.
fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn and(mask: u32) -> sock_filter {
    instruction(BPF_ALU | BPF_AND | BPF_K, 0, 0, mask)
}

/// Compares the accumulator with `value`, and skips `yes` or `no` instructions.
fn jump(comparison: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(BPF_JMP | comparison | BPF_K, yes, no, value)
}

/// Skips `distance` instructions.
fn always(distance: usize) -> sock_filter {
    instruction(BPF_JMP | BPF_JA, 0, 0, distance as u32)
}

fn answer(action: Action) -> sock_filter {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Trace(data) => libc::SECCOMP_RET_TRACE | u32::from(data),
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
    };
    instruction(BPF_RET | BPF_K, 0, 0, value)
}
