//! The addresses of this machine that datagrams came to, on a socket that is bound to all of them.

use std::net::IpAddr;

use tianqiao_sfu_core::path::LocalAddr;

/// Grows with the machine's own addresses, which nobody else can add to.
#[derive(Debug, Default)]
pub(super) struct LocalAddrs {
    addrs: Vec<IpAddr>,
}

impl LocalAddrs {
    /// The number of `addr`; 0, which leaves the choice to the routes, past 255 of them.
    pub(super) fn number(&mut self, addr: IpAddr) -> LocalAddr {
        let found = self.addrs.iter().position(|known| *known == addr);
        let index = found.unwrap_or(self.addrs.len());
        let Ok(number) = u8::try_from(index + 1) else {
            return LocalAddr::default();
        };
        if found.is_none() {
            self.addrs.push(addr);
        }
        LocalAddr(number)
    }

    pub(super) fn addr(&self, local: LocalAddr) -> Option<IpAddr> {
        self.addrs.get(usize::from(local.0).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_number() {
        let mut addrs = LocalAddrs::default();
        let ip = |last: u32| IpAddr::from((0x0a00_0000 + last).to_be_bytes());
        for last in [1, 2, 1, 3] {
            let number = addrs.number(ip(last));
            assert_eq!((number, addrs.addr(number)), (LocalAddr(last as u8), Some(ip(last))));
        }
        assert_eq!(addrs.addr(LocalAddr(0)), None);
        assert_eq!(addrs.addr(LocalAddr(9)), None);
        let numbers: Vec<u8> = (1..=300).map(|last| addrs.number(ip(last)).0).collect();
        assert_eq!((numbers[254], numbers[255], numbers[299]), (255, 0, 0));
    }
}
