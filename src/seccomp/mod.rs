//! The default seccomp profile: which system calls a job may make, as data, and its compilation to
//! the classic BPF that the kernel runs before every call.
//!
//! [`compile`] is pure; [`cached`] keeps its result as a file, which the launcher hands to
//! [`crate::sys::seccomp::load`] right before `execve`. A job runs without a filter only when its
//! spec says `seccomp=unconfined`.
//!
//! # Why an own compiler
//! libseccomp is a C library at build time, emits a linear chain of comparisons and needs 18-20 ms
//! for three ABIs; seccompiler has one action per filter and one architecture, and would kill
//! 32-bit programs. The filter here is a binary search over ranges of call numbers: a tenth of a
//! millisecond to make, and at most ten comparisons per call, also when the kernel evaluates every
//! number once to find those that it may let pass without running the filter at all.
//!
//! # Arguments
//! A test looks at the lower 32 bits of an argument only. Every argument in the profile is an `int`
//! of which the kernel drops the upper half; comparing all 64 bits would let a caller step around a
//! refusal by setting one of them.
//!
//! Source of names and constants: <https://man7.org/linux/man-pages/man2/seccomp.2.html>,
//! <https://docs.kernel.org/userspace-api/seccomp_filter.html>.

mod abi;
mod cache;
mod emit;
mod profile;

#[cfg(test)]
mod tests;

pub use abi::{Abi, Architecture};
pub use cache::{SeccompError, cached};
pub use emit::Filter;
pub use profile::PROFILE_VERSION;

use std::collections::{BTreeMap, BTreeSet};

/// What happens to one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// The call is not made and fails with this errno.
    Errno(u16),
    /// The whole process ends by SIGSYS.
    Kill,
}

/// True when the lower half of an argument has this value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Test {
    /// Position, from 0.
    argument: u8,
    equals: u32,
}

/// Calls that are treated alike.
struct Group {
    rule: Rule,
    names: &'static [&'static str],
}

enum Rule {
    Allow,
    Refuse(Verdict),
    /// Allowed to a job whose bounding set holds the capability.
    Needs {
        capability: &'static str,
        otherwise: Verdict,
    },
    /// `then` when all tests of one alternative hold, else `otherwise`; always allowed to a job whose
    /// bounding set holds the capability.
    Unless {
        capability: Option<&'static str>,
        any_of: &'static [&'static [Test]],
        then: Verdict,
        otherwise: Verdict,
    },
}

/// What a filter does with one call number, once the capabilities are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Fixed(Verdict),
    ByArguments { any_of: &'static [&'static [Test]], then: Verdict, otherwise: Verdict },
}

impl Rule {
    fn decide(&self, capabilities: &BTreeSet<String>) -> Decision {
        match *self {
            Rule::Allow => Decision::Fixed(Verdict::Allow),
            Rule::Refuse(verdict) => Decision::Fixed(verdict),
            Rule::Needs { capability, otherwise } => {
                Decision::Fixed(if capabilities.contains(capability) { Verdict::Allow } else { otherwise })
            }
            Rule::Unless { capability, any_of, then, otherwise } => match capability {
                Some(capability) if capabilities.contains(capability) => Decision::Fixed(Verdict::Allow),
                _ => Decision::ByArguments { any_of, then, otherwise },
            },
        }
    }

    fn capability(&self) -> Option<&'static str> {
        match *self {
            Rule::Needs { capability, .. } => Some(capability),
            Rule::Unless { capability, .. } => capability,
            Rule::Allow | Rule::Refuse(_) => None,
        }
    }
}

/// The filter for a job with these capabilities in its bounding set (`CAP_SYS_ADMIN`, …), on hosts
/// of this architecture. It covers every ABI such a host runs; a call through any other kills the
/// process.
pub fn compile(capabilities: &BTreeSet<String>, architecture: Architecture) -> Filter {
    let sections: Vec<_> = architecture
        .abis()
        .iter()
        .map(|&abi| {
            let mut decisions = BTreeMap::new();
            for group in profile::GROUPS {
                let decision = group.rule.decide(capabilities);
                for number in group.names.iter().filter_map(|name| abi.number(name)) {
                    decisions.insert(number, decision);
                }
            }
            (abi, decisions)
        })
        .collect();
    Filter::emit(&sections, Decision::Fixed(profile::DEFAULT))
}

/// A filter for a role of this program: it may make these calls of the host's own ABI, and is killed at
/// any other. Names that the ABI does not have are passed over, as it has others for the same purpose.
pub fn only(names: &[&str], architecture: Architecture) -> Filter {
    let abi = architecture.abis()[0];
    let allowed = names.iter().filter_map(|name| abi.number(name));
    let decisions = allowed.map(|number| (number, Decision::Fixed(Verdict::Allow))).collect();
    Filter::emit(&[(abi, decisions)], Decision::Fixed(Verdict::Kill))
}

/// Stands for the filter that [`compile`] makes: equal keys, equal filters. SHA-256 in lower-case
/// hexadecimal over the profile's version, the architecture and those of the capabilities that the
/// profile asks for.
pub fn cache_key(capabilities: &BTreeSet<String>, architecture: Architecture) -> String {
    let asked: BTreeSet<&str> = profile::GROUPS
        .iter()
        .filter_map(|group| group.rule.capability())
        .filter(|capability| capabilities.contains(*capability))
        .collect();
    let asked: Vec<&str> = asked.into_iter().collect();
    cache::sha256_hex(format!("{PROFILE_VERSION} {architecture:?} {}", asked.join(",")).as_bytes())
}
