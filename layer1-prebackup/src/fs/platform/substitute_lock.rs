//! A lock between the processes of one machine that needs no file system, for those that know no locks.

use std::io;

/// Held until it is dropped, or its process ends, however that ends.
#[derive(Debug)]
pub(crate) struct SubstituteLock {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    _socket: std::os::unix::net::UnixDatagram,
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    _file: std::fs::File,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl SubstituteLock {
    /// Takes the lock of that name; `None` where another holds it. It is the name of a socket in Linux's own list,
    /// which has no place on any disk and is gone with its last descriptor.
    pub(crate) fn try_now(name: &str) -> io::Result<Option<SubstituteLock>> {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};
        match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?) {
            Ok(socket) => Ok(Some(SubstituteLock { _socket: socket })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl SubstituteLock {
    /// Takes the lock of that name; `None` where another holds it. It is that of a file on the machine's own disk,
    /// whose file system knows locks.
    pub(crate) fn try_now(name: &str) -> io::Result<Option<SubstituteLock>> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let file = options.open(std::path::Path::new("/tmp").join(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(SubstituteLock { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}
