//! `cardume check`: whether `cardume serve` would start with a configuration, and what it would take.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use crate::config::Config;
use crate::film;
use crate::store::FILE_NAME;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key of the configuration.
    pub key: &'static str,
    /// What there is, for people.
    pub text: String,
    /// Whether `cardume serve` would start for all that.
    pub is_good: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_good { "ok  " } else { "BAD " };
        write!(f, "{mark} {}: {}", self.key, self.text)
    }
}

/// Looks at what the configuration needs of this machine. Changes nothing.
pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![port("http", config.http), port("rtmp", config.rtmp), data_dir(&config.data_dir)];
    findings.extend(config.https.map(|address| port("https", address)));
    findings.extend(config.certificate().map(|certificate| finding("tls_certificate", certificate.check())));
    findings.extend(config.stun.address().map(|address| stun(address, config.relay)));
    findings.extend(config.site.as_deref().map(site));
    findings.extend(config.films.as_deref().map(|folder| films(folder, config)));
    let ids: Vec<_> = config.channel.iter().map(|channel| channel.id.as_str()).collect();
    findings.push(Finding { key: "channel", text: ids.join(", "), is_good: true });
    findings
}

fn finding(key: &'static str, outcome: Result<String, String>) -> Finding {
    let is_good = outcome.is_ok();
    let (Ok(text) | Err(text)) = outcome;
    Finding { key, text, is_good }
}

fn port(key: &'static str, address: SocketAddr) -> Finding {
    let outcome = match TcpListener::bind(address) {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) => Err(format!("{address} cannot be listened on: {error}")),
    };
    finding(key, outcome)
}

/// Of datagrams, and of connections too where there is a relay.
fn stun(address: SocketAddr, has_relay: bool) -> Finding {
    let taken = UdpSocket::bind(address).map(drop).err();
    let taken = taken.or_else(|| TcpListener::bind(address).map(drop).err().filter(|_| has_relay));
    let outcome = match taken {
        None => Ok(format!("{address} is free")),
        Some(error) => Err(format!("{address} cannot be listened on: {error}")),
    };
    finding("stun", outcome)
}

fn data_dir(path: &Path) -> Finding {
    let shown = path.display();
    let outcome = if path.join(FILE_NAME).is_file() {
        Ok(format!("{shown} has a store; channels keep their keys"))
    } else if path.is_dir() {
        Ok(format!("{shown} has no store yet; channels get new keys"))
    } else if path.exists() {
        Err(format!("{shown} is no directory"))
    } else {
        Ok(format!("{shown} will be made; channels get new keys"))
    };
    finding("data_dir", outcome)
}

fn site(path: &Path) -> Finding {
    let shown = path.display();
    let is_there = path.join("index.html").is_file();
    finding("site", is_there.then(|| format!("{shown}")).ok_or_else(|| format!("{shown} has no index.html")))
}

fn films(folder: &Path, config: &Config) -> Finding {
    let taken: BTreeSet<_> = config.channel.iter().map(|channel| channel.id.clone()).collect();
    let outcome = match film::films_in(folder, &taken) {
        Ok(found) => Ok(format!("{} has {} films", folder.display(), found.len())),
        Err(error) => Err(format!("{} cannot be read: {error}", folder.display())),
    };
    finding("films", outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_or_missing_is_named_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let toml = format!(
            "http = \"{}\"\nrtmp = \"127.0.0.1:0\"\nstun = \"127.0.0.1:0\"\ndata_dir = {:?}\nsite = {:?}\nfilms = \"/does/not/exist\"",
            taken.local_addr().unwrap(),
            directory.path().display().to_string(),
            directory.path().display().to_string(),
        );
        let findings = check(&Config::from_toml(&toml).unwrap());
        let judged: Vec<_> = findings.iter().map(|finding| (finding.key, finding.is_good)).collect();
        let expected = [
            ("http", false),
            ("rtmp", true),
            ("data_dir", true),
            ("stun", true),
            ("site", false),
            ("films", false),
            ("channel", true),
        ];
        assert_eq!(judged, expected, "{findings:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
    }
}
