use super::abi::X32_BIT;
use super::emit::{
    INSTRUCTION_SIZE, Instruction, JUMP, JUMP_EQUAL, JUMP_GREATER_EQUAL, LOAD, MAX_INSTRUCTIONS, RETURN,
};
use super::profile::{DEFAULT, GROUPS, SINCE_PODMAN_4_3};
use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

const ALL_ABIS: [Abi; 5] = [Abi::X86_64, Abi::X32, Abi::X86, Abi::Aarch64, Abi::Arm];

/// The default set of containers.conf(5).
const DEFAULT_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn capabilities(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Sets that switch every conditional rule on and off.
fn capability_sets() -> Vec<BTreeSet<String>> {
    let mut sets: Vec<_> = GROUPS
        .iter()
        .filter_map(|group| group.rule.capability())
        .map(|capability| capabilities(&[capability]))
        .collect();
    sets.push(BTreeSet::new());
    sets.push(capabilities(&DEFAULT_CAPABILITIES));
    sets.push(sets.iter().flatten().cloned().collect());
    sets
}

/// What the kernel does with a call, as `SECCOMP_RET_*`.
fn interpret(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend(0u64.to_le_bytes()); // instruction pointer
    arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));

    let (mut accumulator, mut next) = (0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[next];
        next += 1;
        let mut branch = |taken| next += usize::from(if taken { jump_true } else { jump_false });
        match code {
            LOAD => {
                let offset = operand as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            JUMP => next += operand as usize,
            JUMP_EQUAL => branch(accumulator == operand),
            JUMP_GREATER_EQUAL => branch(accumulator >= operand),
            RETURN => return operand,
            other => panic!("opcode {other:#x} at {}", next - 1),
        }
    }
}

fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

#[test]
fn a_filter_of_a_role_kills_at_everything_else() {
    const ALLOWED: [&str; 3] = ["read", "write", "exit_group"];
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let native = architecture.abis()[0];
        let filter = only(&[&ALLOWED[..], &["no such call"]].concat(), architecture);
        for abi in ALL_ABIS {
            for name in ["read", "write", "exit_group", "execve", "socket", "ptrace", "mount", "openat"] {
                let Some(number) = abi.number(name) else { continue };
                let found = interpret(filter.instructions(), abi.audit_architecture(), number, [0; 6]);
                let expected = if abi == native && ALLOWED.contains(&name) { Verdict::Allow } else { Verdict::Kill };
                assert_eq!(found, action(expected), "{architecture:?} {abi:?} {name}");
            }
        }
    }
}

/// The profile read without any of the compiler's steps.
fn naive(capabilities: &BTreeSet<String>, group: Option<&Group>, arguments: [u64; 6]) -> Verdict {
    let Some(group) = group else { return DEFAULT };
    let has = |capability: &str| capabilities.contains(capability);
    match &group.rule {
        Rule::Allow => Verdict::Allow,
        Rule::Refuse(verdict) => *verdict,
        Rule::Needs { capability, .. } if has(capability) => Verdict::Allow,
        Rule::Needs { otherwise, .. } => *otherwise,
        Rule::Unless { capability: Some(capability), .. } if has(capability) => Verdict::Allow,
        Rule::Unless { any_of, then, otherwise, .. } => {
            let holds = |test: &Test| arguments[usize::from(test.argument)] as u32 == test.equals;
            if any_of.iter().any(|alternative| alternative.iter().all(holds)) { *then } else { *otherwise }
        }
    }
}

/// Every value that a test compares with, its neighbours, and each with a bit in the upper half set.
fn argument_samples() -> Vec<u64> {
    let mut samples = BTreeSet::from([0, 1, u64::MAX]);
    for group in GROUPS {
        if let Rule::Unless { any_of, .. } = &group.rule {
            for test in any_of.iter().copied().flatten() {
                let value = u64::from(test.equals);
                samples.extend([value.saturating_sub(1), value, value + 1, value | 1 << 32]);
            }
        }
    }
    samples.into_iter().collect()
}

fn numbers(abi: Abi) -> impl Iterator<Item = u32> {
    let base = if abi == Abi::X32 { X32_BIT } else { 0 };
    let arm_private = (0x0e_ffff..=0x0f_0008).filter(move |_| abi == Abi::Arm);
    (0..=600).map(move |number| base + number).chain(arm_private)
}

#[test]
fn compiled_filter_agrees_with_the_profile_for_every_call() {
    let samples = argument_samples();
    let mut with_arguments = 0;
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        for capabilities in capability_sets() {
            let filter = compile(&capabilities, architecture);
            for &abi in architecture.abis() {
                let groups: BTreeMap<u32, &Group> = GROUPS
                    .iter()
                    .flat_map(|group| group.names.iter().filter_map(move |name| Some((abi.number(name)?, group))))
                    .collect();
                for number in numbers(abi) {
                    let group = groups.get(&number).copied();
                    let tested = group.is_some_and(|group| matches!(group.rule, Rule::Unless { .. }));
                    let samples = if tested { samples.as_slice() } else { &[0] };
                    for &first in samples {
                        for &third in samples {
                            let arguments = [first, 7, third, 7, 7, 7];
                            let found = interpret(filter.instructions(), abi.audit_architecture(), number, arguments);
                            let expected = action(naive(&capabilities, group, arguments));
                            assert_eq!(
                                found, expected,
                                "{abi:?} number {number:#x} arguments {arguments:x?} with {capabilities:?}"
                            );
                            with_arguments += usize::from(tested);
                        }
                    }
                }
            }
        }
    }
    assert!(with_arguments > 10_000, "the argument tests were sampled only {with_arguments} times");
}

#[test]
fn any_other_way_into_the_kernel_kills_the_process() {
    const AUDIT_ARCH_S390X: u32 = 0x8000_0016;
    let filter = compile(&BTreeSet::new(), Architecture::X86_64);
    for foreign in [0, AUDIT_ARCH_S390X, Abi::Arm.audit_architecture(), Abi::Aarch64.audit_architecture(), u32::MAX] {
        for number in [0, 1, 60, 600, X32_BIT, u32::MAX] {
            let found = interpret(filter.instructions(), foreign, number, [0; 6]);
            assert_eq!(found, libc::SECCOMP_RET_KILL_PROCESS, "architecture {foreign:#x} number {number}");
        }
    }
}

#[test]
fn numbers_beyond_every_table_are_unknown_calls() {
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let filter = compile(&BTreeSet::new(), architecture);
        for abi in architecture.abis() {
            for number in [0x3fff_ffff, X32_BIT + 600, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let found = interpret(filter.instructions(), abi.audit_architecture(), number, [0; 6]);
                assert_eq!(found, action(DEFAULT), "{abi:?} number {number:#x}");
            }
        }
    }
}

#[test]
fn every_name_is_known_and_stands_in_one_group() {
    let mut seen = BTreeSet::new();
    for name in GROUPS.iter().flat_map(|group| group.names) {
        assert!(seen.insert(name), "{name} stands in two groups");
        assert!(ALL_ABIS.iter().any(|abi| abi.number(name).is_some()), "no ABI knows {name}");
    }
}

#[test]
fn programs_are_such_as_the_kernel_takes() {
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        for capabilities in capability_sets() {
            let filter = compile(&capabilities, architecture);
            let program = filter.instructions();
            assert!(program.len() <= MAX_INSTRUCTIONS);
            assert!(filter.bytes().len() <= 8192, "more than two pages: {} bytes", filter.bytes().len());
            assert_eq!(filter.bytes().len(), program.len() * INSTRUCTION_SIZE);
            assert_eq!(program.last().unwrap().code, RETURN);
            for (at, instruction) in program.iter().enumerate() {
                let farthest = match instruction.code {
                    JUMP => instruction.operand as usize,
                    _ => usize::from(instruction.jump_true.max(instruction.jump_false)),
                };
                assert!(at + 1 + farthest < program.len() || instruction.code == RETURN, "jump out of bounds at {at}");
            }
        }
    }
}

/// A changed filter under an old key would never reach a state root that has the old one cached.
#[test]
fn profile_version_is_raised_with_every_change() {
    let capabilities = capabilities(&DEFAULT_CAPABILITIES);
    let hashes = [Architecture::X86_64, Architecture::Aarch64]
        .map(|architecture| cache::sha256_hex(&compile(&capabilities, architecture).bytes())[..16].to_owned());
    let expected = (1, ["e851ccd62ec40486", "ddde7038703c8541"].map(str::to_owned));
    assert_eq!((PROFILE_VERSION, hashes), expected, "raise PROFILE_VERSION, then note the new hashes here");
}

#[test]
fn cache_key_depends_on_what_the_filter_depends_on_and_nothing_else() {
    let key = |names: &[&str]| cache_key(&capabilities(names), Architecture::X86_64);
    assert_eq!(key(&["CAP_CHOWN"]), key(&[]), "no rule asks for CAP_CHOWN");
    assert_ne!(key(&["CAP_SYS_ADMIN"]), key(&[]));
    assert_ne!(key(&[]), cache_key(&BTreeSet::new(), Architecture::Aarch64));
    for a in capability_sets() {
        for b in capability_sets() {
            let [key_a, key_b] = [&a, &b].map(|set| cache_key(set, Architecture::X86_64));
            let [filter_a, filter_b] = [&a, &b].map(|set| compile(set, Architecture::X86_64));
            assert_eq!(key_a == key_b, filter_a == filter_b, "{a:?} {b:?}");
        }
    }
}

#[test]
fn cached_filter_is_made_once_and_a_damaged_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let capabilities = capabilities(&DEFAULT_CAPABILITIES);
    let expected = compile(&capabilities, Architecture::host().unwrap()).bytes();
    let files = || std::fs::read_dir(directory.path()).unwrap().count();

    let path = cached(directory.path(), &capabilities).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), expected);
    let inode = || std::fs::metadata(&path).unwrap().ino();
    let made = inode();
    assert_eq!(cached(directory.path(), &capabilities).unwrap(), path);
    assert_eq!(inode(), made, "it was written again");
    assert_eq!(files(), 1);

    for damaged in [&expected[..8], &[], &[0; 16]] {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(cached(directory.path(), &capabilities).unwrap(), path);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    cached(directory.path(), &BTreeSet::new()).unwrap();
    assert_eq!(files(), 2, "another profile has a file of its own");
}

#[test]
fn cache_directory_that_cannot_be_used_is_named() {
    let error = cached(std::path::Path::new("/nonexistent/cache"), &BTreeSet::new()).unwrap_err();
    assert_eq!(error.to_string(), "failed to list /nonexistent/cache");
}

/// A rule of containers' seccomp.json.
#[derive(serde::Deserialize)]
struct PodmanRule {
    names: Vec<String>,
    action: String,
    #[serde(rename = "errnoRet")]
    errno: Option<u16>,
    #[serde(default)]
    args: Option<Vec<PodmanTest>>,
    #[serde(default)]
    includes: PodmanFilter,
    #[serde(default)]
    excludes: PodmanFilter,
}

#[derive(serde::Deserialize)]
struct PodmanTest {
    index: usize,
    value: u64,
    op: String,
}

#[derive(Default, serde::Deserialize)]
struct PodmanFilter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

/// Evaluates podman's own file as podman and libseccomp do: rules for other capabilities and
/// architectures are left out, and of two contradicting rules the first one counts.
fn podman_verdict(rules: &[PodmanRule], capabilities: &BTreeSet<String>, name: &str, arguments: [u64; 6]) -> Verdict {
    let applies = |rule: &&PodmanRule| {
        let (includes, excludes) = (&rule.includes, &rule.excludes);
        (includes.caps.is_empty() || includes.caps.iter().all(|cap| capabilities.contains(cap)))
            && !excludes.caps.iter().any(|cap| capabilities.contains(cap))
            && (includes.arches.is_empty() || includes.arches.iter().any(|arch| arch == "amd64"))
            && rule.args.iter().flatten().all(|test| match test.op.as_str() {
                "SCMP_CMP_EQ" => arguments[test.index] == test.value,
                "SCMP_CMP_NE" => arguments[test.index] != test.value,
                other => panic!("unknown comparison {other}"),
            })
    };
    match rules.iter().filter(|rule| rule.names.iter().any(|known| known == name)).find(applies) {
        None => DEFAULT,
        Some(rule) if rule.action == "SCMP_ACT_ALLOW" => Verdict::Allow,
        Some(rule) if rule.action == "SCMP_ACT_ERRNO" => Verdict::Errno(rule.errno.unwrap()),
        Some(rule) => panic!("unknown action {}", rule.action),
    }
}

/// Needs podman's profile as of 4.3 (Debian 12: golang-github-containers-common).
#[test]
fn reach_is_that_of_podman() {
    const PROFILE: &str = "/usr/share/containers/seccomp.json";
    const SHA256: &str = "cc374cf23846ce1f62f4dc807a8e2b8673c783c6f56cb475467621035d281e6c";
    let text = std::fs::read(PROFILE).unwrap_or_default();
    if cache::sha256_hex(&text) != SHA256 {
        assert!(std::env::var_os("CI").is_none(), "CI must have podman 4.3's profile as {PROFILE}");
        return eprintln!("skipped: podman 4.3's profile is not here as {PROFILE}");
    }
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(document["defaultErrnoRet"], libc::ENOSYS);
    let rules: Vec<PodmanRule> = serde_json::from_value(document["syscalls"].clone()).unwrap();

    // Upper halves are left zero here: podman's rules compare them, ours do not (see the module).
    let samples: Vec<u64> = argument_samples().into_iter().filter(|&value| value <= u64::from(u32::MAX)).collect();
    for capabilities in capability_sets() {
        let filter = compile(&capabilities, Architecture::X86_64);
        for abi in [Abi::X86_64, Abi::X86] {
            let own = GROUPS.iter().flat_map(|group| group.names).map(|&name| name.to_owned());
            let names: BTreeSet<String> = own.chain(rules.iter().flat_map(|rule| rule.names.clone())).collect();
            for name in names.iter().filter(|name| !SINCE_PODMAN_4_3.contains(&name.as_str())) {
                let Some(number) = abi.number(name) else { continue };
                let tested =
                    rules.iter().any(|rule| rule.args.iter().flatten().next().is_some() && rule.names.contains(name));
                let samples = if tested { samples.as_slice() } else { &[0] };
                for &first in samples {
                    for &third in samples {
                        let arguments = [first, 0, third, 0, 0, 0];
                        let ours = interpret(filter.instructions(), abi.audit_architecture(), number, arguments);
                        let theirs = action(podman_verdict(&rules, &capabilities, name, arguments));
                        assert_eq!(ours, theirs, "{abi:?} {name} {arguments:x?} with {capabilities:?}");
                    }
                }
            }
        }
    }
    for name in SINCE_PODMAN_4_3 {
        assert!(
            !rules.iter().any(|rule| rule.names.iter().any(|known| known == name)),
            "{name} is in podman's profile by now: move it into its group"
        );
    }
}
