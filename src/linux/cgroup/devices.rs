//! Which device files the processes of a group may open or make: a program that the kernel runs at each attempt.
//!
//! Version 2 has no file for this. It has a hook: a small eBPF program, attached to the group, sees the kind of device
//! (block, character), its numbers and what is asked (read, write, mknod), and returns 1 or 0.
//!
//! Only root outside of any user namespace may load one. Inside one it is not missed: no device can be made there, and
//! those bound from the host keep the host's owner and mode.
//!
//! The subtlety is the order of the rules. They tell a story: "deny all; allow null; allow the disk to read". The last
//! word counts, and it may speak of only a part of what is asked. So the program reads them from the last to the first,
//! and keeps in a register what has been asked and not yet been answered.

use anyhow::{Context, Result};

use super::Cgroup;
use crate::sys;
use crate::trace::{self, Topic};

/// Kinds of device, as the kernel tells them to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Block devices (disks).
    Block = 1,
    /// Character devices (all others).
    Character = 2,
}

/// To make a device file.
pub const MAKE: u32 = 1;
/// To read from one.
pub const READ: u32 = 2;
/// To write to one.
pub const WRITE: u32 = 4;

/// One rule; `None` fits every kind or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// Block or character.
    pub kind: Option<Kind>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// [`MAKE`], [`READ`], [`WRITE`], or-ed.
    pub access: u32,
}

impl Cgroup {
    /// Lets `rules` decide about devices from now on; what none of them speaks of is denied. Rules set before no longer count.
    pub fn set_devices(&self, rules: &[Rule]) -> Result<()> {
        let context = || format!("limiting the devices of the cgroup {}", self.path.display());
        let before = sys::bpf_device_filters(self.fd()).with_context(context)?;
        let program = assemble(rules);
        let loaded =
            trace::ask(Topic::Cgroup, "bpf", format_args!("BPF_PROG_LOAD cgroup/dev {} rules", rules.len()), || {
                sys::bpf_load_device_filter(&program)
            })
            .with_context(context)?;
        trace::ask(Topic::Cgroup, "bpf", format_args!("BPF_PROG_ATTACH {}", self.path.display()), || {
            sys::bpf_attach_device_filter(self.fd(), std::os::fd::AsFd::as_fd(&loaded))
        })
        .with_context(context)?;
        // The new one first: all that are attached must agree, so there is no moment without a wall.
        for old in before {
            sys::bpf_detach_device_filter(self.fd(), std::os::fd::AsFd::as_fd(&old)).with_context(context)?;
        }
        Ok(())
    }
}

// Registers. The kernel gives the context in R1 and wants the answer in R0.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Operation codes of eBPF (`linux/bpf.h`): class | operation | source (a constant, or a register).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// An instruction: operation, destination and source register, jump or address offset, constant.
fn instruction(operation: u8, destination: u8, source: u8, offset: i16, constant: u32) -> u64 {
    u64::from(operation)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(constant) << 32
}

fn answer(allow: bool) -> [u64; 2] {
    [instruction(MOVE, ANSWER, 0, 0, u32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

fn assemble(rules: &[Rule]) -> Vec<u64> {
    // struct bpf_cgroup_dev_ctx: the access in the upper half of the first word and the kind in the lower; major; minor.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ASKED, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ASKED, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut block = if rule.allow {
            // Answered is what the rule allows; what is left to answer, an earlier rule must.
            vec![instruction(AND, ASKED, 0, 0, !rule.access), instruction(JUMP_IF_NOT_EQUAL, ASKED, 0, 2, 0)]
        } else {
            vec![
                instruction(MOVE_REGISTER, SCRATCH, ASKED, 0, 0),
                instruction(AND, SCRATCH, 0, 0, rule.access),
                instruction(JUMP_IF_EQUAL, SCRATCH, 0, 2, 0),
            ]
        };
        block.extend(answer(rule.allow));
        let tests = [(KIND, rule.kind.map(|kind| kind as u32)), (MAJOR, rule.major), (MINOR, rule.minor)];
        for (register, value) in tests {
            if let Some(value) = value {
                let over_the_rest = block.len() as i16;
                block.insert(0, instruction(JUMP_IF_NOT_EQUAL, register, 0, over_the_rest, value));
            }
        }
        program.extend(block);
    }
    program.extend(answer(false));
    program
}
