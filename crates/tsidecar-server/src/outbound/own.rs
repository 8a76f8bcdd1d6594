//! The addresses of this host, as the kernel has them now. Read from `/proc/self`, which the unit's view of `/proc` still has,
//! because it has no netlink (and so no getifaddrs); the kernel's routing tables also know what no interface shows, such as whole blocks that are delivered locally.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where the kernel shows the IPv4 routing tables of our network namespace.
const IPV4: &str = "/proc/self/net/fib_trie";
/// Where it shows the IPv6 addresses of interfaces; missing without IPv6.
const IPV6: &str = "/proc/self/net/if_inet6";
/// A host with more routes than fit has a border router's table: nothing is dialled then, rather than half of it believed.
const LONGEST: u64 = 8 << 20;

/// The addresses that packets from this host reach this host by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnAddresses {
    ipv4: Vec<(u32, u32)>,
    ipv6: Vec<Ipv6Addr>,
}

impl OwnAddresses {
    /// Reads the addresses of this moment.
    ///
    /// # Errors
    /// When the kernel does not tell, or in a way that we do not understand: nothing may be dialled then.
    pub(super) fn read() -> io::Result<Self> {
        let ipv6 = match text(IPV6) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        Self::parse(&text(IPV4)?, &ipv6).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{IPV4} or {IPV6} has a form we do not know"))
        })
    }

    /// Reads both texts; `None` for a form that is not known, or without any IPv4 address: loopback at least is there.
    fn parse(fib_trie: &str, if_inet6: &str) -> Option<Self> {
        let mut ipv4 = Vec::new();
        let mut leaf = None;
        for line in fib_trie.lines() {
            let line = line.trim_start();
            if let Some(address) = line.strip_prefix("|-- ") {
                leaf = Some(address.parse::<Ipv4Addr>().ok()?);
            } else if let Some(rest) = line.strip_prefix('/') {
                let mut words = rest.split_ascii_whitespace();
                let length = words.next()?.parse::<u32>().ok().filter(|length| *length <= 32)?;
                if words.nth(1) == Some("LOCAL") {
                    ipv4.push((leaf?.to_bits(), length));
                }
            }
        }
        ipv4.sort_unstable();
        ipv4.dedup();
        let first_word = |line: &str| {
            let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
            u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
        };
        let ipv6 = if_inet6.lines().map(first_word).collect::<Option<_>>()?;
        (!ipv4.is_empty()).then_some(Self { ipv4, ipv6 })
    }

    /// Whether a packet to this address would stay here.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.iter().any(|(network, length)| {
                let shift = 32 - length;
                address.to_bits().checked_shr(shift).unwrap_or(0) == network.checked_shr(shift).unwrap_or(0)
            }),
            IpAddr::V6(address) => self.ipv6.contains(&address),
        }
    }

    #[cfg(test)]
    pub(super) fn of(addresses: &[IpAddr]) -> Self {
        let mut own = Self::default();
        for address in addresses {
            match address {
                IpAddr::V4(address) => own.ipv4.push((address.to_bits(), 32)),
                IpAddr::V6(address) => own.ipv6.push(*address),
            }
        }
        own
    }

    /// Every single address.
    #[cfg(test)]
    pub(super) fn each(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.iter().filter(|(_, length)| *length == 32);
        ipv4.map(|(bits, _)| Ipv4Addr::from_bits(*bits).into())
            .chain(self.ipv6.iter().map(|address| (*address).into()))
    }
}

fn text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read < LONGEST) {
        Ok(text)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{path} is longer than {LONGEST} bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 100.64.0.0/10 2 0 2
        |-- 100.101.102.103
           /32 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.168.7.0/24 2 0 2
        |-- 192.168.7.0
           /24 link UNICAST
        |-- 192.168.7.2
           /32 host LOCAL
        |-- 192.168.7.9
           /32 host LOCAL
Id 10:
  +-- 10.9.0.0/16 2 0 2
     |-- 10.9.0.0
        /24 host LOCAL tos=4
";
    const IF_INET6: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fd7a115ca1e000000000000067016667 05 80 00 80 tailscale0
20010db8000000000000000000000007 02 40 00 80     eth0
";

    #[test]
    fn every_local_address_of_every_table() {
        let own = OwnAddresses::parse(FIB_TRIE, IF_INET6).unwrap();
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "100.101.102.103",
            "192.168.7.2",
            "192.168.7.9",
            "10.9.0.200",
            "::1",
            "fd7a:115c:a1e0::6701:6667",
            "2001:db8::7",
        ] {
            assert!(own.contains(address.parse().unwrap()), "{address}");
        }
        for address in
            ["192.168.7.3", "192.168.7.255", "0.0.0.0", "8.8.8.8", "10.9.1.1", "128.0.0.1", "2001:db8::8"]
        {
            assert!(!own.contains(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_form_that_we_do_not_know_is_no_answer() {
        for (fib_trie, if_inet6) in [
            ("", ""),
            ("Main:\n  |-- 0.0.0.0\n     /0 universe UNICAST\n", ""),
            (&FIB_TRIE.replace("127.0.0.1", "localhost"), ""),
            (&FIB_TRIE.replace("/8 ", "/88 "), ""),
            (FIB_TRIE, "::1 01 80 10 80 lo"),
        ] {
            assert_eq!(OwnAddresses::parse(fib_trie, if_inet6), None, "{fib_trie} {if_inet6}");
        }
        assert!(OwnAddresses::parse(FIB_TRIE, "").is_some(), "without IPv6");
    }

    #[test]
    fn the_kernel_of_this_machine_is_understood() {
        let own = OwnAddresses::read().unwrap();
        assert!(own.contains([127, 0, 0, 1].into()), "{own:?}");
    }
}
