//! A TUN device: IP packets that the kernel sends to it are read, and those that are written it receives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Gone when this is dropped.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Creates one in the namespace where this thread is.
    ///
    /// # Errors
    /// `EBUSY` where there is one of that name; those of /dev/net/tun.
    pub fn create(name: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open("/dev/net/tun")?;
        // SAFETY: all of `ifreq` is plain data, of which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays the zero that ends the name.
        let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
        places
            .zip(name.bytes())
            .for_each(|(place, byte)| *place = byte as libc::c_char);
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which outlives the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        match result {
            0 => Ok(Self(file)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next IP packet, without waiting.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let len = (&self.0).read(buffer)?;
        Ok(&buffer[..len])
    }

    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
