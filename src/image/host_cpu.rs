//! Which variant of its architecture this machine's processor is.

/// The variant in the words of image indexes (`v3` of amd64, `v7` of arm); `None` for the plain
/// architecture and where none is known.
pub fn variant() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    return x86_64_level();
    #[cfg(target_arch = "arm")]
    return arm_variant(
        &std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
        nix::sys::utsname::uname().ok().and_then(|name| name.machine().to_str().map(str::to_owned)).as_deref(),
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
    None
}

/// The highest level of the x86-64 psABI that the processor has all of, as far as std can tell: LAHF and
/// OSXSAVE come with the rest on every processor there is.
/// <https://gitlab.com/x86-psABIs/x86-64-ABI/-/blob/master/x86-64-ABI/low-level-sys-info.tex>
#[cfg(target_arch = "x86_64")]
fn x86_64_level() -> Option<String> {
    macro_rules! has {
        ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let is_v2 = has!("cmpxchg16b", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2");
    let is_v3 = is_v2 && has!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe");
    let is_v4 = is_v3 && has!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl");
    let level = [(is_v4, "v4"), (is_v3, "v3"), (is_v2, "v2")].into_iter().find(|(has, _)| *has);
    level.map(|(_, level)| level.to_owned())
}

/// From the kernel's `CPU architecture` line, as containerd and podman do, else from its machine name.
/// A kernel of 64 bits says 8, which is right for the 32-bit programs on it too.
#[cfg(any(target_arch = "arm", test))]
fn arm_variant(cpuinfo: &str, machine: Option<&str>) -> Option<String> {
    let field = |name: &str| {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    // The BCM2835 of the first Raspberry Pi says 7 and is a 6.
    let is_really_6 = field("model name").is_some_and(|(_, model)| model.starts_with("ARMv6-compatible"));
    let architecture = field("cpu architecture").map(|(_, value)| value.to_ascii_lowercase());
    let variant = match architecture.as_deref() {
        Some("8" | "aarch64") => "v8",
        Some("7") if is_really_6 => "v6",
        Some("7" | "7m" | "?(12)" | "?(13)" | "?(14)" | "?(15)" | "?(16)" | "?(17)") => "v7",
        Some("6" | "6tej") => "v6",
        Some("5" | "5t" | "5te" | "5tej") => "v5",
        _ => match machine? {
            "aarch64" | "aarch64_be" => "v8",
            name if name.starts_with("armv8") => "v8",
            name if name.starts_with("armv7") => "v7",
            name if name.starts_with("armv6") => "v6",
            name if name.starts_with("armv5") => "v5",
            _ => return None,
        },
    };
    Some(variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_processors_are_told_by_what_the_kernel_says() {
        let cpuinfo = |model: &str, architecture: &str| {
            format!(
                "processor\t: 0\nmodel name\t: {model}\nCPU implementer\t: 0x41\nCPU architecture: {architecture}\n"
            )
        };
        for (model, architecture, variant) in [
            ("ARMv7 Processor rev 4 (v7l)", "7", "v7"),
            ("ARMv6-compatible processor rev 7 (v6l)", "7", "v6"),
            ("ARM926EJ-S rev 5 (v5l)", "5TEJ", "v5"),
            ("Cortex-A72", "8", "v8"),
            ("Cortex-A72", "AArch64", "v8"),
        ] {
            assert_eq!(arm_variant(&cpuinfo(model, architecture), Some("armv7l")).as_deref(), Some(variant), "{model}");
        }
        assert_eq!(arm_variant("", Some("armv6l")).as_deref(), Some("v6"));
        assert_eq!(arm_variant("", Some("armv8l")).as_deref(), Some("v8"));
        assert_eq!(arm_variant("", Some("riscv64")), None);
        assert_eq!(arm_variant("nonsense", None), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_level_is_one_that_the_kernel_lists_the_features_of() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap();
        let has = |names: &str| names.split(' ').all(|name| flags.split_whitespace().any(|flag| flag == name));
        let v2 = has("cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2");
        let v3 = v2 && has("avx avx2 bmi1 bmi2 f16c fma abm movbe xsave");
        let v4 = v3 && has("avx512f avx512bw avx512cd avx512dq avx512vl");
        let expected = [(v4, "v4"), (v3, "v3"), (v2, "v2")].into_iter().find(|(has, _)| *has);
        assert_eq!(variant().as_deref(), expected.map(|(_, level)| level));
    }
}
