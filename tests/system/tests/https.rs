//! HTTPS of the tracker's own, with certificates from files and from an authority.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::net::SocketAddr;
use std::path::Path;

use cardume::app::Tracker;
use cardume::config::Config;
use cardume_system_tests::authority::{Authority, Issued, NAME};
use cardume_system_tests::https::{connect, read};
use cardume_system_tests::{TestTracker, get, until};
use cardume_wire::PROTOCOL_VERSION;
use cardume_wire::signal::Join;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::client_async;

const HOST: &str = "localhost";

/// Writes a certificate where [`lines`] says that it is.
fn put(directory: &Path, issued: &Issued) {
    std::fs::write(directory.join("certificate.pem"), &issued.certificate).unwrap();
    std::fs::write(directory.join("key.pem"), &issued.key).unwrap();
}

fn lines(directory: &Path) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    format!(
        "https = \"127.0.0.1:0\"\ntls_certificate = {:?}\ntls_key = {:?}\n",
        path("certificate.pem"),
        path("key.pem")
    )
}

/// A tracker with a certificate of this authority.
async fn start(authority: &Authority) -> (TestTracker, SocketAddr, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), &authority.issue(HOST));
    let tracker = TestTracker::start_in(directory.path(), &lines(directory.path())).await;
    let address = tracker.tracker.https_address().unwrap();
    (tracker, address, directory)
}

#[tokio::test]
async fn the_same_is_served_by_https_as_by_http() {
    let authority = Authority::new();
    let (tracker, address, _directory) = start(&authority).await;
    let reply = read(address, HOST, authority.root(), "/v1/channels").await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), get(tracker.http(), "/v1/channels").await.json());
    // HTTP/2, for players that want it.
    let stream = connect(address, HOST, authority.root(), &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
}

#[tokio::test]
async fn a_viewers_socket_is_opened_over_it() {
    let authority = Authority::new();
    let (_tracker, address, _directory) = start(&authority).await;
    let stream = connect(address, HOST, authority.root(), &[b"http/1.1"]).await.unwrap();
    let path = Join { version: PROTOCOL_VERSION, channel: "live".parse().unwrap(), resume: None }.address();
    let (_socket, answer) = client_async(format!("wss://{HOST}{path}"), stream).await.unwrap();
    assert_eq!(answer.status(), 101);
}

#[tokio::test]
async fn what_is_no_tls_harms_nobody() {
    let authority = Authority::new();
    let (_tracker, address, _directory) = start(&authority).await;
    let mut mute = Vec::new();
    for _ in 0..50 {
        mute.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let reply = read(address, HOST, authority.root(), "/healthz").await.unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_changed_certificate_is_taken_and_a_faulty_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let (_tracker, address, directory) = start(&old).await;
    std::fs::write(directory.path().join("certificate.pem"), "nothing of use").unwrap();
    assert!(read(address, HOST, old.root(), "/healthz").await.is_ok());
    put(directory.path(), &new.issue(HOST));
    until("the new certificate", async || read(address, HOST, new.root(), "/healthz").await.is_ok()).await;
    assert!(read(address, HOST, old.root(), "/healthz").await.is_err());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_at_start() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let check = async |issued: &Issued, words: &str| {
        put(directory.path(), issued);
        let text = format!(
            "http = \"127.0.0.1:0\"\nrtmp = \"127.0.0.1:0\"\ndata_dir = {:?}\n{}",
            directory.path().join("data").display().to_string(),
            lines(directory.path())
        );
        let error = Tracker::start(Config::from_toml(&text).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let (one, other) = (authority.issue(HOST), authority.issue(HOST));
    check(&Issued { certificate: String::new(), key: one.key.clone() }, "certificate").await;
    check(&Issued { certificate: one.certificate.clone(), key: String::new() }, "private key").await;
    check(&Issued { certificate: one.certificate, key: other.key }, "is not that of").await;
}

#[tokio::test]
async fn an_authority_gives_a_certificate_that_a_restart_still_has() {
    let authority = Authority::new();
    let root = authority.root().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, &root).unwrap();
    // The authority must know where the tracker is, and the tracker where the authority is.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (url, serving) = authority.serve(port).await;
    let lines = format!(
        "https = \"{port}\"\nacme_domains = [{NAME:?}]\nacme_contact = \"who@example.org\"\nacme_directory = {url:?}\n\
         acme_roots = {:?}\n",
        roots.display().to_string()
    );
    let answers = async || read(port, NAME, &root, "/healthz").await.is_ok();
    let tracker = TestTracker::start_in(directory.path(), &lines).await;
    until("a certificate", answers).await;
    tracker.tracker.shutdown().await;
    // Nobody is there to ask now.
    serving.abort();
    let _tracker = TestTracker::start_in(directory.path(), &lines).await;
    until("the kept certificate", answers).await;
}
