//! The built binary: what it says, and how it ends.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn cardume() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardume"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARDUME_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn serve(data_dir: &Path) -> Command {
    let mut command = cardume();
    command
        .args(["serve", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--stun", "off", "--data-dir"])
        .arg(data_dir);
    command
}

/// Runs until it prints where it is; gives the process and its first lines.
fn start(data_dir: &Path) -> (Child, String) {
    start_with(&mut serve(data_dir))
}

fn start_with(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
    let mut greeting = String::new();
    while !greeting.contains("ffmpeg -re") {
        assert!(lines.read_line(&mut greeting).unwrap() > 0, "it ended early: {greeting}");
    }
    (child, greeting)
}

fn check_refused(output: &Output, expect: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it ran");
    for text in expect {
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
}

#[test]
fn help_shows_how_to_begin() {
    let output = cardume().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for text in ["cardume serve --demo", "--egress <RATE>", "30 Mbit/s", "--data-dir <DIR>"] {
        assert!(help.contains(text), "{text:?} is not in: {help}");
    }
}

#[test]
fn the_printed_configuration_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let output = cardume().arg("config").output().unwrap();
    let file = directory.path().join("cardume.toml");
    std::fs::write(&file, &output.stdout).unwrap();
    let mut command = serve(&directory.path().join("data"));
    let mut child = command.arg("--config").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.starts_with("Cardume is on http://127.0.0.1:"), "{first}");
}

#[test]
fn bad_settings_are_refused_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    let with = |text: &str| {
        std::fs::write(&file, text).unwrap();
        serve(directory.path()).arg("--config").arg(&file).output().unwrap()
    };
    check_refused(&with("egres_limit = \"3 Mbit/s\""), &["bad.toml", "line 1", "egres_limit"]);
    check_refused(&with("[[channel]]\nid = \"a\"\n[[channel]]\nid = \"a\""), &["\"a\" is defined twice"]);
    check_refused(&with("http = 8080"), &["bad.toml", "line 1"]);
    let output = serve(directory.path()).args(["--config", "/no/such/file.toml"]).output().unwrap();
    check_refused(&output, &["/no/such/file.toml"]);
    let output = serve(directory.path()).args(["--egress", "fast"]).output().unwrap();
    check_refused(&output, &["--egress", "30 Mbit/s"]);
    let output = serve(directory.path()).env("CARDUME_EGRESS_LIMIT", "fast").output().unwrap();
    check_refused(&output, &["CARDUME_EGRESS_LIMIT", "30 Mbit/s"]);
    let output = serve(directory.path()).arg("--site").arg(directory.path()).output().unwrap();
    check_refused(&output, &["index.html"]);
    let output = serve(directory.path()).args(["--films", "/no/such/folder"]).output().unwrap();
    check_refused(&output, &["/no/such/folder", "--films"]);
}

#[test]
fn an_address_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = cardume();
    command
        .args(["serve", "--http", &address, "--rtmp", "127.0.0.1:0", "--stun", "off", "--data-dir"])
        .arg(directory.path());
    check_refused(&command.output().unwrap(), &[&address, "--http"]);
}

#[test]
fn a_port_of_stun_in_use_is_named_with_how_to_do_without() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = cardume();
    command.args([
        "serve",
        "--http",
        "127.0.0.1:0",
        "--rtmp",
        "127.0.0.1:0",
        "--stun",
        &address,
        "--data-dir",
    ]);
    let output = command.arg(directory.path()).output().unwrap();
    check_refused(&output, &["STUN", &address, "--stun off"]);
}

#[test]
fn a_data_directory_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _) = start(directory.path());
    let second = serve(directory.path()).output().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    check_refused(&second, &["in use", "--data-dir"]);
}

#[test]
fn a_film_that_is_none_is_named_with_what_makes_it_right() {
    let (data, films) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../media/tests/fixtures");
    for (fixture, film) in [("progressive.mp4", "bad.mp4"), ("cmaf.mp4", "good.mp4")] {
        std::fs::copy(fixtures.join(fixture), films.path().join(film)).unwrap();
    }
    let (mut child, _) = start_with(serve(data.path()).arg("--films").arg(films.path()));
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut log: Vec<String> = Vec::new();
    // They are read in this order.
    for line in lines {
        let is_last = line.contains("good.mp4 is ready");
        log.push(line);
        if is_last {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let refusal = log.iter().find(|line| line.contains("bad.mp4")).unwrap();
    assert!(refusal.contains("not fragmented") && refusal.contains("ffmpeg -i"), "{log:?}");
    assert!(log.last().unwrap().contains("good.mp4 is ready"), "{log:?}");
}

#[cfg(unix)]
#[test]
fn it_prints_lines_to_paste_and_ends_at_sigterm_and_keeps_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let run = || {
        let (mut child, greeting) = start(directory.path());
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let status = child.wait().unwrap();
        let mut log = String::new();
        child.stderr.unwrap().read_to_string(&mut log).unwrap();
        assert!(status.success(), "{status}: {log}");
        assert!(log.contains("SIGTERM"), "{log}");
        let (_, key) = greeting.split_once("stream key ").unwrap();
        key.lines().next().unwrap().to_owned()
    };
    let key = run();
    assert_eq!(key.len(), 32);
    assert_eq!(run(), key, "the generated key outlives a restart");
}

/// Reads an answer's body.
fn read(greeting: &str, path: &str) -> String {
    let (_, rest) = greeting.split_once("Cardume is on http://").unwrap();
    let (address, _) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn sent_len(greeting: &str) -> u64 {
    let report: serde_json::Value = serde_json::from_str(&read(greeting, "/v1/egress")).unwrap();
    report["month"]["sent_len"].as_u64().unwrap()
}

#[test]
fn a_process_that_is_killed_forgets_nothing_of_what_it_sent() {
    let directory = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = serve(directory.path());
        start_with(command.args(["--egress-per-month", "1 GB"]))
    };
    let (mut child, greeting) = run();
    assert_eq!(sent_len(&greeting), 0);
    while sent_len(&greeting) < 300_000 {
        assert!(!read(&greeting, "/").is_empty());
    }
    let sent = sent_len(&greeting);
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut child, greeting) = run();
    let after = sent_len(&greeting);
    child.kill().unwrap();
    child.wait().unwrap();
    // As the operator's manual says: a thousandth of the quota, but at least 1 MiB, may be lost.
    assert!((sent..=sent + 1024 * 1024).contains(&after), "{sent} bytes before, {after} after");
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_hangup_reads_the_configuration_again_and_a_faulty_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cardume.toml");
    std::fs::write(&file, "").unwrap();
    let mut command = serve(&directory.path().join("data"));
    let (mut child, greeting) = start_with(command.args(["--log-format", "json", "--config"]).arg(&file));
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let hang_up = |text: &str| {
        std::fs::write(&file, text).unwrap();
        signal(&child, "-HUP");
    };
    let mut reload = |text: &str| -> serde_json::Value {
        hang_up(text);
        let line = log.find(|line| line.contains("SIGHUP")).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let line = reload("viewer_limit = \"many\"");
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("cardume.toml"), "{line}");
    let line = reload("log = \"error\"\n[[channel]]\nid = \"news\"");
    assert!(line["message"].as_str().unwrap().contains("changed: log, channel"), "{line}");
    assert!(read(&greeting, "/v1/channels").contains("news"));
    // The filter holds: what was done is no error, and not told any more.
    hang_up("log = \"error\"\n[[channel]]\nid = \"sport\"");
    while !read(&greeting, "/v1/channels").contains("sport") {}
    let line = reload("rubbish");
    assert_eq!(line["level"], "ERROR", "{line}");
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn check_says_all_that_is_wrong_and_what_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cardume.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        cardume().args(["check", "--config"]).arg(&file).output().unwrap()
    };
    let output = check("htpp = 1\nrtmp = 2\npublic_url = \"tv\"");
    assert_eq!(output.status.code(), Some(1));
    check_refused(&output, &["cardume.toml", "htpp", "line 2", "public_url"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = directory.path().join("data").display().to_string();
    let ports = "rtmp = \"127.0.0.1:0\"\nstun = \"127.0.0.1:0\"";
    let text = |http: &str| format!("http = \"{http}\"\n{ports}\ndata_dir = {store:?}");
    let output = check(&text(&taken.local_addr().unwrap().to_string()));
    assert_eq!(output.status.code(), Some(3));
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains("BAD  http: ") && found.contains("ok   rtmp: "), "{found}");
    let output = check(&text("127.0.0.1:0"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn health_is_the_exit_code_of_a_question() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, greeting) = start(directory.path());
    let (_, rest) = greeting.split_once("Cardume is on ").unwrap();
    let url = rest.split_whitespace().next().unwrap().to_owned();
    let ask = |url: &str| cardume().args(["health", url]).output().unwrap();
    let output = ask(&url);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("\"ok\""),
        "{output:?}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    check_refused(&ask(&url), &["nobody listens"]);
    check_refused(&ask("https://tv.example.org"), &["http://"]);
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told_when_it_is_ready_reads_again_and_goes_down() {
    use std::os::unix::net::UnixDatagram;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut command = serve(&directory.path().join("data"));
    let (mut child, _) = start_with(command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000"));
    let hear = |expected: &str| loop {
        let mut buffer = [0; 1024];
        let len = systemd.recv(&mut buffer).unwrap();
        if String::from_utf8_lossy(&buffer[..len]).contains(expected) {
            break;
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    signal(&child, "-HUP");
    hear("RELOADING=1\nMONOTONIC_USEC=");
    hear("READY=1");
    signal(&child, "-TERM");
    hear("STOPPING=1");
    assert!(child.wait().unwrap().success());
}
