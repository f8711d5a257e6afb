//! `cardume health`: asks a running tracker whether it is well, for containers and scripts.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// Time to connect, and then again to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read at most: it has some 200.
const ANSWER_LEN_LIMIT: u64 = 16 * 1024;

/// What `/healthz` of the tracker at this address (`http://HOST:PORT`) answers when it is well.
///
/// # Errors
/// When it cannot be reached, does not answer in time, or goes down.
pub fn ask(url: &str) -> anyhow::Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url:?} must begin with http://; ask the tracker itself and not the proxy in front of it");
    };
    let host = rest.trim_end_matches('/');
    ensure!(!host.contains('/'), "{url:?} must be an address without a path, such as http://127.0.0.1:8080");
    let with_port = if has_port(host) { host.to_owned() } else { format!("{host}:80") };
    let address = with_port.to_socket_addrs().with_context(|| format!("no address is known of {host}"))?;
    let address = address.into_iter().next().with_context(|| format!("no address is known of {host}"))?;
    let connected = TcpStream::connect_timeout(&address, TIMEOUT);
    let mut stream = connected.with_context(|| format!("nobody listens on {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LEN_LIMIT).read_to_end(&mut answer).context("it does not answer in time")?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("what answers does not speak HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "it answers {status}: {}", body.trim());
    Ok(body.trim().to_owned())
}

fn has_port(host: &str) -> bool {
    let behind_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    behind_brackets.contains(':')
}
