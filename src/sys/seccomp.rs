//! Loading a seccomp filter into the calling thread.

#![allow(unsafe_code)] // seccomp(2) has no wrapper in nix

use std::io;

/// `struct sock_filter` is 8 bytes: the alignment is that of its largest member, 4.
const INSTRUCTION_SIZE: usize = 8;

/// Restricts the calling thread, its later children and what they execute to this filter, for good.
/// `filter` is an array of `struct sock_filter` in this machine's byte order.
///
/// The thread needs `no_new_privs` (or CAP_SYS_ADMIN in its user namespace). Meant for the moment
/// right before `execve`: it allocates nothing.
///
/// The speculation mitigations that kernels before 5.16 tie to seccomp are left off, as runc and crun
/// do (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`): they guard a process against itself, not the host.
/// <https://man7.org/linux/man-pages/man2/seccomp.2.html>
///
/// # Errors
/// `InvalidInput` when the length is no multiple of 8, is zero, or exceeds 65535 instructions; else
/// the kernel's: EACCES without `no_new_privs`, EINVAL for a program it refuses, ENOSYS without
/// seccomp.
pub fn load(filter: &[u8]) -> io::Result<()> {
    let count = u16::try_from(filter.len() / INSTRUCTION_SIZE);
    let (Ok(count @ 1..), true) = (count, filter.len().is_multiple_of(INSTRUCTION_SIZE)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let program = libc::sock_fprog { len: count, filter: filter.as_ptr().cast_mut().cast() };
    match set_filter(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) {
        // A kernel before 4.17 does not know the flag.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set_filter(0, &program),
        result => result,
    }
}

fn set_filter(flags: libc::c_ulong, program: &libc::sock_fprog) -> io::Result<()> {
    // SAFETY: `program.filter` points to `program.len` instructions inside the caller's slice, which
    // outlives the call. The kernel copies them byte by byte, so their alignment does not matter, and
    // does not write to them despite the pointer's type.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(program)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
