//! From decisions per call number to a BPF program.
//!
//! ```text
//!     load architecture
//!     for each architecture: unequal → next
//!         load number
//!         binary search over ranges of numbers with equal decisions
//!             leaf: return, or tests of arguments, then return
//!     return KILL_PROCESS
//! ```
//! ABIs that share an architecture (x86_64 and x32) share one search: their numbers are apart.

use super::abi::Abi;
use super::{Decision, Test, Verdict};
use std::collections::BTreeMap;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    instructions: Vec<Instruction>,
}

/// `struct sock_filter` of the kernel's include/uapi/linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub operand: u32,
}

/// Bytes of one instruction in the kernel's format.
pub const INSTRUCTION_SIZE: usize = 8;

/// `BPF_MAXINSNS` of the kernel's include/uapi/linux/bpf_common.h.
pub const MAX_INSTRUCTIONS: usize = 4096;

// Opcodes of include/uapi/linux/bpf_common.h.
pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data of include/uapi/linux/seccomp.h. Both architectures are
// little-endian, so the lower half of an argument comes first.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;
const ARGUMENT_SIZE: u32 = 8;

impl Filter {
    /// `sections`: the decisions of each ABI; `default` is for every number that has none.
    pub(super) fn emit(sections: &[(Abi, BTreeMap<u32, Decision>)], default: Decision) -> Filter {
        let mut by_architecture: Vec<(u32, BTreeMap<u32, Decision>)> = Vec::new();
        for (abi, decisions) in sections {
            let architecture = abi.audit_architecture();
            match by_architecture.iter_mut().find(|entry| entry.0 == architecture) {
                Some(entry) => entry.1.extend(decisions),
                None => by_architecture.push((architecture, decisions.clone())),
            }
        }

        let mut program = vec![load(ARCHITECTURE_OFFSET)];
        for (architecture, decisions) in by_architecture {
            let mut section = vec![load(NUMBER_OFFSET)];
            section.extend(search(&ranges(&decisions, default)));
            // Conditional jumps reach 255 instructions, unconditional ones any.
            program.push(jump_if(JUMP_EQUAL, architecture, 1, 0));
            program.push(jump(section.len()));
            program.extend(section);
        }
        program.push(Instruction {
            code: RETURN,
            jump_true: 0,
            jump_false: 0,
            operand: libc::SECCOMP_RET_KILL_PROCESS,
        });
        assert!(program.len() <= MAX_INSTRUCTIONS, "the profile outgrew the kernel's limit: {}", program.len());
        Filter { instructions: program }
    }

    /// The program as an array of `struct sock_filter` in the byte order of this machine.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * INSTRUCTION_SIZE);
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.operand.to_ne_bytes());
        }
        bytes
    }

    #[cfg(test)]
    pub(super) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

/// Ranges of numbers with equal decisions, as (first number, decision), from 0 up without gaps.
fn ranges(decisions: &BTreeMap<u32, Decision>, default: Decision) -> Vec<(u32, Decision)> {
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    let mut push = |first: u32, decision: Decision| {
        if ranges.last().is_none_or(|last| last.1 != decision) {
            ranges.push((first, decision));
        }
    };
    let mut next = 0;
    for (&number, &decision) in decisions {
        if number > next {
            push(next, default);
        }
        push(number, decision);
        next = number + 1;
    }
    push(next, default);
    ranges
}

/// A binary search for the accumulator's value. Every path ends in a return.
fn search(ranges: &[(u32, Decision)]) -> Vec<Instruction> {
    if let [(_, decision)] = ranges {
        return leaf(decision);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let (first_of_upper, lower, upper) = (upper[0].0, search(lower), search(upper));
    let mut program = match u8::try_from(lower.len()) {
        Ok(distance) => vec![jump_if(JUMP_GREATER_EQUAL, first_of_upper, distance, 0)],
        Err(_) => vec![jump_if(JUMP_GREATER_EQUAL, first_of_upper, 0, 1), jump(lower.len())],
    };
    program.extend(lower);
    program.extend(upper);
    program
}

fn leaf(decision: &Decision) -> Vec<Instruction> {
    match *decision {
        Decision::Fixed(verdict) => vec![answer(verdict)],
        Decision::ByArguments { any_of, then, otherwise } => {
            let mut program = Vec::new();
            for alternative in any_of {
                program.extend(all_hold(alternative, then));
            }
            program.push(answer(otherwise));
            program
        }
    }
}

/// Returns `then` when all tests hold; else goes on after its last instruction.
fn all_hold(tests: &[Test], then: Verdict) -> Vec<Instruction> {
    let mut program = Vec::new();
    for (index, test) in tests.iter().enumerate() {
        // Past the tests that remain, two instructions each, and the return.
        let to_the_end = (tests.len() - 1 - index) * 2 + 1;
        let to_the_end = u8::try_from(to_the_end).expect("an alternative has at most six tests");
        program.push(load(ARGUMENTS_OFFSET + u32::from(test.argument) * ARGUMENT_SIZE));
        program.push(jump_if(JUMP_EQUAL, test.equals, 0, to_the_end));
    }
    program.push(answer(then));
    program
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, operand: offset }
}

fn jump(distance: usize) -> Instruction {
    let operand = u32::try_from(distance).expect("a program is shorter than 4096 instructions");
    Instruction { code: JUMP, jump_true: 0, jump_false: 0, operand }
}

fn jump_if(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

fn answer(verdict: Verdict) -> Instruction {
    let operand = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
    };
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, operand }
}
