//! Capabilities of the calling thread, capabilities(7).

#![expect(unsafe_code, reason = "capset has no wrapper in libc or nix")]

use nix::errno::Errno;
use std::io;

/// Capability numbers of `linux/capability.h`.
/// <https://github.com/torvalds/linux/blob/master/include/uapi/linux/capability.h>
pub const CHOWN: u32 = 0;
pub const DAC_OVERRIDE: u32 = 1;
pub const FOWNER: u32 = 3;
pub const FSETID: u32 = 4;
pub const SYS_ADMIN: u32 = 21;
pub const MKNOD: u32 = 27;
pub const SETFCAP: u32 = 31;

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two halves.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up every capability but those in `keep`, for good.
///
/// # Errors
/// `EPERM` when one of `keep` is not permitted now.
pub fn keep_only(keep: &[u32]) -> io::Result<()> {
    let mut data = [Data::default(); 2];
    for capability in keep {
        let half = &mut data[(capability / 32) as usize];
        half.effective |= 1 << (capability % 32);
        half.permitted |= 1 << (capability % 32);
    }
    let header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: for version 3 the kernel reads one header and exactly two data elements, which live
    // on this stack frame.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
