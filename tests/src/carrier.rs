//! Whether an interface really carries packets.
//!
//! An interface that was just set up drops what is sent until a worker of the kernel has noticed its carrier; on a
//! busy machine that takes a while, and a lost ARP request costs a second. Asking for the link state by way of
//! ethtool makes the kernel do that work first.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

/// `ETHTOOL_GLINK` of linux/ethtool.h.
const ETHTOOL_GLINK: u32 = 0x0a;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    value: u32,
}

/// Whether an interface of the calling thread's namespace has a carrier; if so, it is ready to send, too.
pub(crate) fn is_on(interface: &str) -> io::Result<bool> {
    // Any socket of the namespace serves to ask about its interfaces.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut link = EthtoolValue { command: ETHTOOL_GLINK, value: 0 };
    // SAFETY: all of `ifreq` is plain numbers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = request.ifr_name.iter_mut().zip(interface.bytes());
    name.for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut link).cast();
    // SAFETY: the name ends with a zero, as no interface's name fills the field; `ifru_data` points to `link`,
    // which outlives the call and is as large as this command wants it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(link.value == 1) }
}
