//! The kernel's key retention service, as far as a job must be kept out of its caller's keys.

#![allow(unsafe_code)] // keyctl(2) has no wrapper in nix

use nix::errno::Errno;
use std::io;

/// `KEYCTL_JOIN_SESSION_KEYRING` (include/uapi/linux/keyctl.h).
const JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Gives the calling process and its later children an empty session keyring of their own, as runc and
/// crun do, in place of the caller's, whose keys would be theirs to read
/// (<https://man7.org/linux/man-pages/man7/session-keyring.7.html>).
///
/// # Errors
/// `EDQUOT` when the user has too many keys (`/proc/sys/kernel/keys/`). A kernel without keys is none.
pub fn join_new_session() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring; nothing else is read.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `KEYCTL_GET_KEYRING_ID` of `KEY_SPEC_SESSION_KEYRING`.
    fn session() -> libc::c_long {
        // SAFETY: integers only.
        unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0) }
    }

    #[test]
    fn the_session_keyring_is_another_one() {
        // A keyring belongs to a thread's credentials, so the other tests keep theirs.
        let ids = std::thread::spawn(|| {
            let before = session();
            join_new_session().unwrap();
            (before, session())
        });
        let (before, after) = ids.join().unwrap();
        assert!(before != after || after == -1, "{before} {after}");
    }
}
