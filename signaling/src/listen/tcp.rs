//! What is asked of the kernel for a connection that may come over a slow or lossy link.

use std::io;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::TcpStream;

/// Bytes that wait in the kernel unsent. More would be written before the peer could have taken them: later messages would
/// wait behind them, and what was written would say nothing of how much the peer takes.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 16 * 1024;

/// # Errors
/// Of the first option that the system does not know; the connection works without.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    // Small answers and WebSocket messages do not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(stream);
        // Most systems have it. Of a link that loses a fifth by itself the usual cubic makes next to nothing: it takes each loss
        // for a queue that is full, and may stand still for minutes.
        let _ = socket.set_tcp_congestion(b"bbr");
        socket.set_tcp_notsent_lowat(UNSENT)?;
        // A message that was lost again and again is sent every RTO at first, not after twice the time each time: there is
        // little else on such a connection that could be too much for the link.
        socket.set_tcp_thin_linear_timeouts(true)?;
    }
    Ok(())
}
