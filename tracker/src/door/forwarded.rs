//! What proxies say of whom they serve. Both forms list the nearest hop last; here it comes first.
//!
//! What stands between two commas is read by itself: what a caller wrote on the left cannot change how that is read which a
//! proxy added on the right.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

pub(super) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies in a row at most; more are looked for by nobody who is honest. (Wild guess.)
const HOP_LIMIT: usize = 16;

/// The hops of `X-Forwarded-For: CLIENT, PROXY, …`; `None` for what is no address.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    from_the_right(headers, &X_FORWARDED_FOR).map(|hop| hop.and_then(address))
}

/// The hops of `Forwarded: for=CLIENT;proto=https, for="[PROXY]:1234"` (RFC 7239); `None` for what names no address.
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    from_the_right(headers, &header::FORWARDED).map(|hop| {
        let pairs = hop?.split(';').filter_map(|pair| pair.split_once('='));
        let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        let (_, node) = named.next()?;
        address(node.trim().trim_matches('"'))
    })
}

/// What stands between commas, last first, over all headers of this name.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'a str>> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    let hops = lines.into_iter().rev().flat_map(|line| {
        let text = line.to_str().ok();
        let unreadable = text.is_none().then_some(None);
        text.into_iter().flat_map(|text| text.rsplit(',')).map(|hop| Some(hop.trim())).chain(unreadable)
    });
    hops.take(HOP_LIMIT)
}

/// An address in any of the forms in use: with a port or without, an IPv6 one in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(in_brackets)
}
