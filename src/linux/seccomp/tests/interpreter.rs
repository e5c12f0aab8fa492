//! The kernel's interpreter of classic BPF, as far as our filters need it: a register, loads, masks and jumps forward.
//!
//! It reads what this machine cannot run: filters for other architectures, and calls that would do something. That it may be
//! believed, `every_comparison_is_of_all_64_bits` asks it and the kernel the same questions.

use super::*;

/// What `filter` answers to a call, by the rules of classic BPF.
pub fn answer(filter: &Filter, architecture: Architecture, number: u32, arguments: [u64; 6]) -> u32 {
    let audit = match architecture {
        Architecture::X86_64 | Architecture::X32 => 0xc000_003e,
        Architecture::X86 => 0x4000_0003,
        Architecture::Aarch64 => 0xc000_00b7,
        Architecture::Arm => 0x4000_0028,
    };
    let mut words = vec![number, audit, 0, 0];
    words.extend(arguments.iter().flat_map(|argument| [*argument as u32, (argument >> 32) as u32]));
    let program = compile(filter).expect("a filter that compiles");
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let one = program.instructions[at];
        at += 1;
        let mut skip = |holds: bool| at += usize::from(if holds { one.jt } else { one.jf });
        match u32::from(one.code) {
            0x20 => accumulator = words[one.k as usize / 4],
            0x54 => accumulator &= one.k,
            0x05 => at += one.k as usize,
            0x15 => skip(accumulator == one.k),
            0x25 => skip(accumulator > one.k),
            0x35 => skip(accumulator >= one.k),
            0x06 => return one.k,
            other => panic!("the kernel's interpreter for constant answers does not know instruction {other:#x}"),
        }
    }
}

/// The same for a call by its name.
pub fn verdict(filter: &Filter, architecture: Architecture, name: &str, arguments: [u64; 6]) -> u32 {
    answer(filter, architecture, architecture.number(name).expect(name), arguments)
}

pub const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

pub fn refused(errno: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::from(errno)
}
