use axum::http::{HeaderName, HeaderValue};

use super::*;

fn door(toml: &str) -> Door {
    Door::new(&Config::from_toml(toml).unwrap())
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

/// The address that a connection from `10.0.0.1` with these headers counts for.
fn check(toml: &str, pairs: &[(&'static str, &'static str)], expected: &str) {
    let caller = door(toml).recognise("10.0.0.1".parse().unwrap(), &headers(pairs));
    assert_eq!(caller.address.to_string(), expected, "{toml} {pairs:?}");
}

const TRUSTED: &str = "trusted_proxies = [\"10.0.0.0/8\", \"2001:db8:ffff::1\"]";

#[test]
fn nobody_is_believed_without_being_trusted() {
    check("", &[("x-forwarded-for", "198.51.100.7")], "10.0.0.1");
    check("trusted_proxies = [\"10.0.0.2\"]", &[("x-forwarded-for", "198.51.100.7")], "10.0.0.1");
}

#[test]
fn the_nearest_hop_that_is_not_trusted_is_the_caller() {
    for (chain, expected) in [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 10.0.0.3", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::7]:4711, 10.0.0.3", "2001:db8::7"),
        ("2001:db8::7,2001:db8:ffff::1", "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("198.51.100.7, unknown, 10.0.0.3", "10.0.0.3"),
        ("", "10.0.0.1"),
    ] {
        check(TRUSTED, &[("x-forwarded-for", Box::leak(chain.to_owned().into_boxed_str()))], expected);
    }
    check(TRUSTED, &[], "10.0.0.1");
}

#[test]
fn a_proxy_is_trusted_in_either_notation() {
    let connected = "::ffff:10.0.0.1".parse().unwrap();
    let caller = door(TRUSTED).recognise(connected, &headers(&[("x-forwarded-for", "198.51.100.7")]));
    assert_eq!(caller.address.to_string(), "198.51.100.7");
    assert!(!caller.is_hidden);
}

#[test]
fn several_headers_are_one_list() {
    let pairs = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7, 10.0.0.3")];
    check(TRUSTED, &pairs, "198.51.100.7");
}

#[test]
fn the_standard_header_is_read_where_it_is_asked_for() {
    let toml = format!("{TRUSTED}\nproxy_header = \"forwarded\"");
    for (value, expected) in [
        ("for=198.51.100.7;proto=https", "198.51.100.7"),
        ("For=\"[2001:db8::7]:4711\", for=10.0.0.3", "2001:db8::7"),
        // What the caller began does not swallow what the proxy added.
        ("for=\"203.0.113.9, for=198.51.100.7;by=\"x\"", "198.51.100.7"),
        ("for=_hidden, for=10.0.0.3", "10.0.0.3"),
        ("proto=https", "10.0.0.1"),
    ] {
        check(&toml, &[("forwarded", value)], expected);
    }
    check(&toml, &[("x-forwarded-for", "198.51.100.7")], "10.0.0.1");
}

#[test]
fn pages_are_let_in_by_their_origin() {
    let admits = |toml: &str, origin: &'static str| {
        let request = headers(&[("host", "tv.example.org:8080"), ("origin", origin)]);
        door(toml).admits(&Uri::from_static("/v1/signal"), &request)
    };
    assert!(admits("", "https://anywhere.example"), "all pages, unless the operator says otherwise");
    let listed = "allowed_origins = [\"https://a.example\", \"https://*.b.example\"]\npublic_url = \"https://pub.example/x\"";
    for (origin, expected) in [
        ("https://a.example", true),
        ("http://a.example", false),
        ("https://a.example:8443", false),
        ("https://x.b.example", true),
        ("https://b.example", false),
        ("https://evilb.example", false),
        ("http://tv.example.org:8080", true),
        ("https://pub.example", true),
        ("null", false),
    ] {
        assert_eq!(admits(listed, origin), expected, "{origin}");
    }
    assert!(door(listed).admits(&Uri::from_static("/"), &HeaderMap::new()), "programs name no origin");
}

#[test]
fn metrics_are_for_neighbours_or_for_who_has_the_token() {
    let check = |toml: &str, from: &str, pairs: &[_], expected: Result<(), Stranger>| {
        let (door, headers) = (door(toml), headers(pairs));
        let caller = door.recognise(from.parse().unwrap(), &headers);
        assert_eq!(door.check_metrics(caller, &headers), expected, "{toml} {from}");
    };
    check("", "127.0.0.1", &[], Ok(()));
    check("", "198.51.100.7", &[], Err(Stranger::Far));
    // A proxy that is not trusted stands for everybody.
    check("", "127.0.0.1", &[("x-forwarded-for", "10.1.1.1")], Err(Stranger::Far));
    check("", "127.0.0.1", &[("via", "1.1 proxy")], Err(Stranger::Far));
    check(TRUSTED, "10.0.0.1", &[("x-forwarded-for", "192.168.0.9")], Ok(()));
    check(TRUSTED, "10.0.0.1", &[("x-forwarded-for", "198.51.100.7")], Err(Stranger::Far));
    let token = "metrics_token = \"a-long-enough-token\"";
    check(token, "127.0.0.1", &[], Err(Stranger::NoToken));
    check(token, "198.51.100.7", &[("authorization", "Bearer a-long-enough-token")], Ok(()));
    check(token, "198.51.100.7", &[("authorization", "Bearer a-long-enough-tokem")], Err(Stranger::NoToken));
}
