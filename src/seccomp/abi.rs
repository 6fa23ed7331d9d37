//! Names to numbers, for each way in which a host's programs may enter its kernel.

use std::str::FromStr;

/// Architectures of hosts that a filter can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    Aarch64,
}

/// A convention for system calls, with numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    X86_64,
    /// 32-bit pointers on x86_64; the numbers carry [`X32_BIT`].
    X32,
    X86,
    Aarch64,
    Arm,
}

/// `__X32_SYSCALL_BIT` of the kernel's arch/x86/include/uapi/asm/unistd.h.
pub const X32_BIT: u32 = 0x4000_0000;

impl Architecture {
    /// The architecture that this program was built for; `None` when there is no profile for it.
    pub const fn host() -> Option<Architecture> {
        if cfg!(target_arch = "x86_64") {
            Some(Architecture::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Architecture::Aarch64)
        } else {
            None
        }
    }

    /// The ABIs of its programs, the usual one first.
    pub(super) const fn abis(self) -> &'static [Abi] {
        match self {
            Architecture::X86_64 => &[Abi::X86_64, Abi::X86, Abi::X32],
            Architecture::Aarch64 => &[Abi::Aarch64, Abi::Arm],
        }
    }
}

impl Abi {
    /// `AUDIT_ARCH_*` of the kernel's include/uapi/linux/audit.h, as `seccomp_data.arch` holds it.
    pub const fn audit_architecture(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xC000_003E,
            Abi::X86 => 0x4000_0003,
            Abi::Aarch64 => 0xC000_00B7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// The number of a call; `None` when this ABI does not have it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        match self {
            Abi::X86_64 => syscalls::x86_64::Sysno::from_str(name).ok().map(|number| number as u32),
            Abi::X32 => x32_number(name).map(|number| X32_BIT | number),
            Abi::X86 => syscalls::x86::Sysno::from_str(name).ok().map(|number| number as u32),
            Abi::Aarch64 => {
                // The crate has the kernel's internal name for this one.
                let name = if name == "newfstatat" { "fstatat" } else { name };
                syscalls::aarch64::Sysno::from_str(name).ok().map(|number| number as u32)
            }
            Abi::Arm => lookup(ARM_PRIVATE, name)
                .or_else(|| syscalls::arm::Sysno::from_str(name).ok().map(|number| number as u32)),
        }
    }
}

fn x32_number(name: &str) -> Option<u32> {
    if X32_ABSENT.contains(&name) {
        return None;
    }
    lookup(X32_OWN, name).or_else(|| Abi::X86_64.number(name))
}

fn lookup(table: &[(&str, u32)], name: &str) -> Option<u32> {
    table.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
}

/// Calls with a number of their own in x32, from the kernel's arch/x86/entry/syscalls/syscall_64.tbl.
const X32_OWN: &[(&str, u32)] = &[
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// Calls of x86_64 that x32 does not have, from the same table.
const X32_ABSENT: &[&str] = &[
    "_sysctl",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "get_thread_area",
    "nfsservctl",
    "query_module",
    "set_thread_area",
    "uselib",
    "vserver",
];

/// `__ARM_NR_*` of the kernel's arch/arm/include/uapi/asm/unistd.h.
const ARM_PRIVATE: &[(&str, u32)] = &[("breakpoint", 0x0f_0001), ("cacheflush", 0x0f_0002), ("set_tls", 0x0f_0005)];
