//! What an IP address is for, by IANA's special-purpose registries: whether a stranger, or an administrator, may have it dialled.
//!
//! Layer 0. Tables as data, and a judgement; nothing here resolves or dials. Addresses that carry an IPv4 address (mapped,
//! NAT64, 6to4, Teredo and the like) are judged by what they carry as well, since that is where a packet may end up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who may have an address dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Global unicast: anybody.
    Global,
    /// Another network's business (private, shared, documentation): whom an administrator names, nobody else.
    Local(&'static Block),
    /// This host, its link, or no single host at all: nobody.
    Never(&'static Block),
}

/// A block of addresses with a purpose of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The block as `ADDRESS/LENGTH`.
    pub prefix: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// Where it is defined.
    pub source: &'static str,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.prefix, self.name, self.source)
    }
}

/// An address in its plain form, and every IPv4 address that it carries.
pub fn readings(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = address.to_canonical();
    let inner = match address {
        IpAddr::V6(address) => Some(carried(address)),
        IpAddr::V4(_) => None,
    };
    std::iter::once(address).chain(inner.into_iter().flatten().map(IpAddr::V4))
}

/// Tells who may have an address dialled.
///
/// What is no unicast address, or means this host or its link, is for nobody; what the registries do not call globally
/// reachable is for administrators; carried IPv4 addresses count as if they stood there themselves, and the worst one decides.
pub fn reach(address: IpAddr) -> Reach {
    let each = readings(address).map(|reading| match reading {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    });
    each.fold(Reach::Global, Reach::or_worse)
}

impl Reach {
    fn or_worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never(_), _) | (_, Self::Global) | (Self::Local(_), Self::Local(_)) => self,
            (_, Self::Never(_)) | (Self::Global, Self::Local(_)) => other,
        }
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let bits = u128::from(address.to_bits());
    row_of(&IPV4, bits, 32).map_or(Reach::Global, Row::reach)
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    row_of(&IPV6, address.to_bits(), 128).map_or(Reach::Local(&UNALLOCATED), Row::reach)
}

/// The IPv4 addresses that an IPv6 address carries, where a gateway or tunnel may take them out.
fn carried(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bits = address.to_bits();
    let at = move |shift: u32| Ipv4Addr::from_bits(u32::try_from((bits >> shift) & 0xffff_ffff).unwrap_or(0));
    let last = at(0);
    let pair = match address.segments() {
        // IPv4-compatible (RFC 4291 §2.5.5.1), translated (RFC 2765 §2.1), NAT64 (RFC 6052, RFC 8215).
        [0, 0, 0, 0, 0 | 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => {
            [Some(last), None]
        }
        // 6to4 (RFC 3056 §2).
        [0x2002, ..] => [Some(at(80)), None],
        // Teredo (RFC 4380 §4): the server, and the client with its bits turned over.
        [0x2001, 0, ..] => [Some(at(64)), Some(Ipv4Addr::from_bits(!last.to_bits()))],
        // ISATAP (RFC 5214 §6.1), below any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => [Some(last), None],
        _ => [None, None],
    };
    pair.into_iter().flatten()
}

/// The first row that has the address: rows with longer prefixes stand before those that contain them.
fn row_of(rows: &'static [Row], bits: u128, width: u32) -> Option<&'static Row> {
    rows.iter().find(|row| {
        let shift = width - row.length;
        // A prefix of length 0 does not occur, so the shift is below the width.
        bits >> shift == row.network >> shift
    })
}

struct Row {
    network: u128,
    length: u32,
    standing: Standing,
    block: Block,
}

#[derive(Clone, Copy)]
enum Standing {
    /// Globally reachable by the registry.
    Global,
    Local,
    Never,
}

impl Row {
    const fn reach(&'static self) -> Reach {
        match self.standing {
            Standing::Global => Reach::Global,
            Standing::Local => Reach::Local(&self.block),
            Standing::Never => Reach::Never(&self.block),
        }
    }
}

/// Outside `2000::/3` nothing is global unicast (IANA IPv6 Address Space; RFC 4291 §2.4).
static UNALLOCATED: Block =
    Block { prefix: "outside 2000::/3", name: "not global unicast", source: "RFC 4291" };

macro_rules! rows {
    ($($prefix:literal = $network:expr, $length:literal, $standing:ident, $name:literal, $source:literal;)*) => {
        [$(Row {
            network: $network,
            length: $length,
            standing: Standing::$standing,
            block: Block { prefix: $prefix, name: $name, source: $source },
        }),*]
    };
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u128 {
    // `From` is not const.
    Ipv4Addr::new(a, b, c, d).to_bits() as u128
}

const fn v6(segments: [u16; 4]) -> u128 {
    let [a, b, c, d] = segments;
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits()
}

/// IANA IPv4 Special-Purpose Address Registry, with multicast and what tailscaled answers itself. Where the registry lets single
/// anycast addresses out of a block, they are kept in it: an anycast service nearby is none that a stranger may choose.
static IPV4: [Row; 19] = rows! {
    "0.0.0.0/8" = v4(0, 0, 0, 0), 8, Never, "this network", "RFC 791";
    "10.0.0.0/8" = v4(10, 0, 0, 0), 8, Local, "private use", "RFC 1918";
    "100.100.100.100/32" = v4(100, 100, 100, 100), 32, Never, "tailscaled's own service address", "Tailscale";
    "100.64.0.0/10" = v4(100, 64, 0, 0), 10, Local, "shared address space, and Tailscale's", "RFC 6598";
    "127.0.0.0/8" = v4(127, 0, 0, 0), 8, Never, "loopback", "RFC 1122";
    "169.254.0.0/16" = v4(169, 254, 0, 0), 16, Never, "link-local", "RFC 3927";
    "172.16.0.0/12" = v4(172, 16, 0, 0), 12, Local, "private use", "RFC 1918";
    "192.0.0.0/24" = v4(192, 0, 0, 0), 24, Local, "IETF protocol assignments", "RFC 6890";
    "192.0.2.0/24" = v4(192, 0, 2, 0), 24, Local, "documentation", "RFC 5737";
    "192.31.196.0/24" = v4(192, 31, 196, 0), 24, Global, "AS112-v4", "RFC 7535";
    "192.52.193.0/24" = v4(192, 52, 193, 0), 24, Global, "AMT", "RFC 7450";
    "192.88.99.0/24" = v4(192, 88, 99, 0), 24, Local, "6to4 relay anycast", "RFC 7526";
    "192.168.0.0/16" = v4(192, 168, 0, 0), 16, Local, "private use", "RFC 1918";
    "192.175.48.0/24" = v4(192, 175, 48, 0), 24, Global, "direct delegation AS112", "RFC 7534";
    "198.18.0.0/15" = v4(198, 18, 0, 0), 15, Local, "benchmarking", "RFC 2544";
    "198.51.100.0/24" = v4(198, 51, 100, 0), 24, Local, "documentation", "RFC 5737";
    "203.0.113.0/24" = v4(203, 0, 113, 0), 24, Local, "documentation", "RFC 5737";
    "224.0.0.0/4" = v4(224, 0, 0, 0), 4, Never, "multicast", "RFC 5771";
    "240.0.0.0/4" = v4(240, 0, 0, 0), 4, Never, "reserved, and limited broadcast", "RFC 1112";
};

/// IANA IPv6 Special-Purpose Address Registry, with multicast, site-local and Tailscale's; last, all that is global unicast.
/// `64:ff9b::/96` is globally reachable by the registry: networks without IPv4 reach the IPv4 internet through it.
static IPV6: [Row; 21] = rows! {
    "::1/128" = 1, 128, Never, "loopback", "RFC 4291";
    "::/128" = 0, 128, Never, "unspecified", "RFC 4291";
    "::/96" = 0, 96, Local, "IPv4-compatible", "RFC 4291";
    "64:ff9b::/96" = v6([0x64, 0xff9b, 0, 0]), 96, Global, "IPv4-IPv6 translation", "RFC 6052";
    "64:ff9b:1::/48" = v6([0x64, 0xff9b, 1, 0]), 48, Local, "local-use IPv4-IPv6 translation", "RFC 8215";
    "100::/64" = v6([0x100, 0, 0, 0]), 64, Local, "discard-only", "RFC 6666";
    "100:0:0:1::/64" = v6([0x100, 0, 0, 1]), 64, Local, "dummy prefix", "RFC 9780";
    "2001::/32" = v6([0x2001, 0, 0, 0]), 32, Local, "Teredo", "RFC 4380";
    "2001::/23" = v6([0x2001, 0, 0, 0]), 23, Local, "IETF protocol assignments", "RFC 2928";
    "2001:db8::/32" = v6([0x2001, 0xdb8, 0, 0]), 32, Local, "documentation", "RFC 3849";
    "2002::/16" = v6([0x2002, 0, 0, 0]), 16, Local, "6to4", "RFC 3056";
    "2620:4f:8000::/48" = v6([0x2620, 0x4f, 0x8000, 0]), 48, Global, "direct delegation AS112", "RFC 7534";
    "3fff::/20" = v6([0x3fff, 0, 0, 0]), 20, Local, "documentation", "RFC 9637";
    "5f00::/16" = v6([0x5f00, 0, 0, 0]), 16, Local, "segment routing (SRv6) SIDs", "RFC 9602";
    "fd7a:115c:a1e0::53/128" = v6([0xfd7a, 0x115c, 0xa1e0, 0]) | 0x53, 128, Never, "tailscaled's own service address", "Tailscale";
    "fd7a:115c:a1e0::/48" = v6([0xfd7a, 0x115c, 0xa1e0, 0]), 48, Local, "Tailscale's unique-local", "RFC 4193";
    "fc00::/7" = v6([0xfc00, 0, 0, 0]), 7, Local, "unique-local", "RFC 4193";
    "fe80::/10" = v6([0xfe80, 0, 0, 0]), 10, Never, "link-local", "RFC 4291";
    "fec0::/10" = v6([0xfec0, 0, 0, 0]), 10, Local, "site-local", "RFC 3879";
    "ff00::/8" = v6([0xff00, 0, 0, 0]), 8, Never, "multicast", "RFC 4291";
    "2000::/3" = v6([0x2000, 0, 0, 0]), 3, Global, "global unicast", "RFC 4291";
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Reach {
        reach(text.parse().unwrap())
    }

    fn word(reach: Reach) -> &'static str {
        match reach {
            Reach::Global => "global",
            Reach::Local(_) => "local",
            Reach::Never(_) => "never",
        }
    }

    /// The prefix in words is the prefix in numbers, and no row hides behind a wider one before it.
    #[test]
    fn the_tables_agree_with_themselves() {
        for (rows, width) in [(&IPV4[..], 32), (&IPV6[..], 128)] {
            for row in rows {
                let (address, length) = row.block.prefix.split_once('/').unwrap();
                let bits = match address.parse().unwrap() {
                    IpAddr::V4(address) => u128::from(address.to_bits()),
                    IpAddr::V6(address) => address.to_bits(),
                };
                assert_eq!((bits, length.parse().unwrap()), (row.network, row.length), "{}", row.block);
                let last = bits | ((1u128 << (width - row.length)) - 1);
                for address in [bits, last] {
                    let first = rows
                        .iter()
                        .find(|row| address >> (width - row.length) == row.network >> (width - row.length));
                    assert!(first.unwrap().length >= row.length, "{} is hidden", row.block);
                }
            }
        }
    }

    /// Both IANA registries (and the multicast, private and Tailscale blocks of A15 and A53), by first and last address.
    #[test]
    fn every_block_of_the_registries() {
        for (block, first, last) in [
            ("never", "0.0.0.0", "0.255.255.255"),
            ("local", "10.0.0.0", "10.255.255.255"),
            ("local", "100.64.0.0", "100.127.255.255"),
            ("never", "100.100.100.100", "100.100.100.100"),
            ("never", "127.0.0.0", "127.255.255.255"),
            ("never", "169.254.0.0", "169.254.255.255"),
            ("never", "169.254.169.254", "169.254.169.254"),
            ("local", "172.16.0.0", "172.31.255.255"),
            ("local", "192.0.0.0", "192.0.0.255"),
            ("local", "192.0.0.8", "192.0.0.9"),
            ("local", "192.0.0.170", "192.0.0.171"),
            ("local", "192.0.2.0", "192.0.2.255"),
            ("global", "192.31.196.0", "192.31.196.255"),
            ("global", "192.52.193.0", "192.52.193.255"),
            ("local", "192.88.99.0", "192.88.99.255"),
            ("local", "192.168.0.0", "192.168.255.255"),
            ("global", "192.175.48.0", "192.175.48.255"),
            ("local", "198.18.0.0", "198.19.255.255"),
            ("local", "198.51.100.0", "198.51.100.255"),
            ("local", "203.0.113.0", "203.0.113.255"),
            ("never", "224.0.0.0", "239.255.255.255"),
            ("never", "240.0.0.0", "255.255.255.255"),
            ("never", "::", "::1"),
            ("never", "::2", "::7fff:ffff"),
            ("global", "64:ff9b::808:808", "64:ff9b::808:8ff"),
            ("local", "64:ff9b:1::808:808", "64:ff9b:1:ffff:ffff:ffff:808:808"),
            ("local", "100::", "100:0:0:1:ffff:ffff:ffff:ffff"),
            ("local", "2001:1::1", "2001:1::3"),
            ("local", "2001:2::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("local", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("global", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
            ("local", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("local", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("local", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("local", "fd7a:115c:a1e0::1", "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff"),
            ("never", "fd7a:115c:a1e0::53", "fd7a:115c:a1e0::53"),
            ("never", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("local", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("never", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!((word(of(first)), word(of(last))), (block, block), "{first} to {last}");
        }
    }

    /// The address right beside each block is judged without it.
    #[test]
    fn the_neighbours_of_blocks_are_global() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2001:4860:4860::8888",
            "2003::",
            "2606:4700::1111",
            "3ffe::",
            "3fff:1000::",
        ] {
            assert_eq!(of(address), Reach::Global, "{address}");
        }
    }

    /// A53 and A15: every way to write an IPv4 address into an IPv6 one.
    #[test]
    fn carried_addresses_count() {
        for (metadata, loopback, private, global) in [
            ("::ffff:169.254.169.254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "global"),
            ("64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::a00:1", "global"),
            ("64:ff9b:1::a9fe:a9fe", "64:ff9b:1::7f00:1", "64:ff9b:1::a00:1", "local"),
            ("2002:a9fe:a9fe::1", "2002:7f00:1::1", "2002:a00:1::1", "local"),
            ("::a9fe:a9fe", "::7f00:1", "::a00:1", "local"),
            ("::ffff:0:a9fe:a9fe", "::ffff:0:7f00:1", "::ffff:0:a00:1", "local"),
            ("2001:0:a9fe:a9fe::", "2001:0:7f00:1::", "2001:0:a00:1::f7f7:f7f7", "local"),
            ("2001:0:808:808::5601:5601", "2001:0:808:808::80ff:fffe", "2001:0:808:808::f5ff:fffe", "local"),
            ("2606:4700::5efe:a9fe:a9fe", "2606:4700::200:5efe:7f00:1", "2606:4700::5efe:a00:1", "global"),
        ] {
            assert_eq!((word(of(metadata)), word(of(loopback))), ("never", "never"), "{metadata}");
            let private = of(private);
            assert!(matches!(private, Reach::Local(_)), "{private:?}");
            let address: Ipv6Addr = metadata.parse().unwrap();
            let public = match address.segments() {
                [0x2002, ..] => "2002:808:808::1".to_owned(),
                [0x2001, 0, ..] => "2001:0:808:808::f7f7:f7f7".to_owned(),
                _ => Ipv6Addr::from_bits(address.to_bits() >> 32 << 32 | 0x808_0808).to_string(),
            };
            assert_eq!(word(of(&public)), global, "{public}");
        }
    }

    #[test]
    fn a_block_says_where_it_comes_from() {
        let Reach::Never(block) = of("::ffff:127.0.0.1") else { panic!() };
        assert_eq!(block.to_string(), "127.0.0.0/8 (loopback, RFC 1122)");
    }

    proptest! {
        /// What carries an address is never judged milder than the address.
        #[test]
        fn carrying_does_not_help(bits in any::<u32>(), rest in any::<u64>()) {
            let address = Ipv4Addr::from_bits(bits);
            let plain = reach(address.into());
            let low = u128::from(bits);
            let prefix = u128::from(rest) << 64;
            for carrier in [
                0xffff_0000_0000 | low,
                low,
                v6([0x64, 0xff9b, 0, 0]) | low,
                v6([0x64, 0xff9b, 1, 0]) | low,
                v6([0x2002, 0, 0, 0]) | low << 80 | u128::from(rest),
                v6([0x2001, 0, 0, 0]) | low << 64 | u128::from(rest),
                v6([0x2001, 0, 0, 0]) | u128::from(!bits),
                prefix | 0x5efe_0000_0000 | low,
            ] {
                let carried = reach(Ipv6Addr::from_bits(carrier).into());
                prop_assert!(plain.or_worse(carried) == carried || word(plain) == word(carried), "{carried:?} {plain:?}");
            }
        }

        /// The standard library's stable predicates never call forbidden what passes as global.
        #[test]
        fn global_is_none_of_the_known_exceptions(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            if reach(address.into()) == Reach::Global {
                prop_assert!(!address.is_private() && !address.is_loopback() && !address.is_link_local());
                prop_assert!(!address.is_broadcast() && !address.is_documentation() && !address.is_unspecified());
                prop_assert!(!address.is_multicast());
            }
        }

        #[test]
        fn nothing_outside_global_unicast_is_for_strangers(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            let global = reach(address.into()) == Reach::Global;
            let unicast = bits >> 125 == 1;
            prop_assert!(!global || unicast || address.to_ipv4_mapped().is_some() || bits >> 32 == v6([0x64, 0xff9b, 0, 0]) >> 32);
            prop_assert!(!global || !(address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local()));
        }
    }
}
