//! Where the relay sends to: the public internet, and never the operator's own network, which the relay can reach and
//! strangers cannot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports below are those of services. Peers have none there, and a relay that sends to DNS or NTP could be used to flood others.
const FIRST_PORT: u16 = 1024;

/// Whether a peer may be relayed to. `is_private_allowed` is for laboratories, and networks that are all the operator's own.
pub(super) fn is_reachable(peer: SocketAddr, is_private_allowed: bool) -> bool {
    peer.port() >= FIRST_PORT && is_reachable_address(peer.ip(), is_private_allowed)
}

/// Whether any peer at this address may be.
pub(super) fn is_reachable_address(address: IpAddr, is_private_allowed: bool) -> bool {
    let address = embedded(address).unwrap_or(address);
    if address.is_multicast() || address.is_unspecified() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return false;
    }
    is_private_allowed || !is_private(address)
}

/// Whether an address means something else in each network (RFC 6890). Those for documentation are nobody's, and are let be.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_shared = a == 100 && b & 0xC0 == 64;
            let is_benchmark = a == 198 && b & 0xFE == 18;
            let is_protocol = (a, b, c) == (192, 0, 0);
            let is_special = a == 0 || a >= 240 || is_shared || is_benchmark || is_protocol;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_special
        }
        IpAddr::V6(v6) => {
            let is_site_local = v6.segments()[0] & 0xFFC0 == 0xFEC0;
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || is_site_local
        }
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped or compatible ones, NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let v4 = |high: u16, low: u16| {
        let bits = u32::from(high) << 16 | u32::from(low);
        Some(IpAddr::V4(Ipv4Addr::from_bits(bits)))
    };
    match v6.segments() {
        _ if v6 == Ipv6Addr::LOCALHOST || v6.is_unspecified() => None,
        [0, 0, 0, 0, 0, 0 | 0xFFFF, high, low] | [0x64, 0xFF9B, .., high, low] | [0x2002, high, low, ..] => {
            v4(high, low)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, in_public: bool, in_laboratory: bool) {
        let peer = SocketAddr::new(address.parse().unwrap(), 40_000);
        assert_eq!(is_reachable(peer, false), in_public, "{address}");
        assert_eq!(is_reachable(peer, true), in_laboratory, "{address} in a laboratory");
    }

    #[test]
    fn public_addresses_are_reached() {
        for address in
            ["8.8.8.8", "198.51.100.7", "100.128.0.1", "198.20.0.1", "2a01:4f8::1", "2002:808:808::1"]
        {
            check(address, true, true);
        }
    }

    #[test]
    fn the_operators_network_is_not() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.19.0.1",
            "0.1.2.3",
            "250.1.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
        ] {
            check(address, false, true);
        }
    }

    #[test]
    fn what_is_no_peer_is_reached_from_nowhere() {
        for address in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1", "::", "::ffff:224.0.0.1"] {
            check(address, false, false);
        }
    }

    #[test]
    fn services_are_not_peers() {
        assert!(!is_reachable("8.8.8.8:53".parse().unwrap(), true));
        assert!(is_reachable("8.8.8.8:1024".parse().unwrap(), false));
    }
}
