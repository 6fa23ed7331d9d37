//! Locks on single bytes of a file that belong to an open file description: they go when its last descriptor is
//! closed, however that comes about (fcntl(2), "Open file description locks").

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::io;
use std::os::fd::AsFd;

/// What a description does with a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeLock {
    Shared,
    Alone,
    Free,
}

/// Sets the lock on the byte at `position`, which need not exist, without waiting; false when another description
/// has one that is in the way. To have it alone the file has to be open for writing.
///
/// # Errors
/// The file system's, which may know no such locks.
pub fn set(file: impl AsFd, position: u64, lock: RangeLock) -> io::Result<bool> {
    let kind = match lock {
        RangeLock::Shared => libc::F_RDLCK,
        RangeLock::Alone => libc::F_WRLCK,
        RangeLock::Free => libc::F_UNLCK,
    };
    let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let range = libc::flock {
        l_type: libc::c_short::try_from(kind).map_err(out_of_range)?,
        l_whence: libc::c_short::try_from(libc::SEEK_SET).map_err(out_of_range)?,
        l_start: libc::off_t::try_from(position).map_err(out_of_range)?,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn bytes_are_shared_or_had_alone_until_the_file_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let path = directory.path().join("lock");
            File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap()
        };
        let far = (1_u64 << 62) - 1;
        let (one, other, third) = (open(), open(), open());
        assert!(set(&one, far, RangeLock::Shared).unwrap());
        assert!(set(&other, far, RangeLock::Shared).unwrap());
        assert!(!set(&third, far, RangeLock::Alone).unwrap());
        assert!(set(&third, far - 1, RangeLock::Alone).unwrap());
        assert!(set(&one, far, RangeLock::Free).unwrap());
        assert!(!set(&third, far, RangeLock::Alone).unwrap());
        drop(other);
        assert!(set(&third, far, RangeLock::Alone).unwrap());
        assert!(!set(&one, far, RangeLock::Shared).unwrap());
    }
}
