//! `deploy/compose.yml`, as far as can be seen without an engine: it holds together, and the programs in it take what it gives them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step is a failed test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_yaml_ng::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The file with its merge keys resolved and the variables of its reader's shell put in.
fn compose() -> Value {
    let text = std::fs::read_to_string(deploy().join("compose.yml")).unwrap();
    let text = text
        .replace("${NATS_TOKEN:?choose a secret}", "a-secret")
        .replace("${PUBLIC_URL:-http://localhost:8080}", "http://localhost:8080");
    assert!(!text.contains("${"), "a variable that this test does not know");
    let mut compose: Value = serde_yaml_ng::from_str(&text).unwrap();
    compose.apply_merge().unwrap();
    compose
}

fn services(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    compose["services"].as_mapping().unwrap().iter().map(|(name, service)| (name.as_str().unwrap(), service))
}

fn nodes(compose: &Value) -> Vec<&Value> {
    services(compose).filter(|(name, _)| name.starts_with("node-")).map(|(_, service)| service).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_sequence().into_iter().flatten().map(|one| one.as_str().unwrap()).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_mapping().into_iter().flatten().map(|(key, _)| key.as_str().unwrap()).collect()
}

fn tracker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardume"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARDUME_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

#[test]
fn what_its_services_name_is_there() {
    let compose = compose();
    let names = keys(&compose["services"]);
    assert_eq!(nodes(&compose).len(), 3);
    let mut published = BTreeSet::new();
    for (name, service) in services(&compose) {
        for other in strings(&service["depends_on"]) {
            assert!(names.contains(other), "{name} depends on {other}");
        }
        for network in strings(&service["networks"]) {
            assert!(keys(&compose["networks"]).contains(network), "{name} is in {network}");
        }
        for volume in strings(&service["volumes"]) {
            let (volume, _) = volume.split_once(':').unwrap();
            assert!(keys(&compose["volumes"]).contains(volume), "{name} has {volume}");
        }
        for config in service["configs"].as_sequence().into_iter().flatten() {
            assert!(keys(&compose["configs"]).contains(config["source"].as_str().unwrap()));
        }
        for port in strings(&service["ports"]) {
            let (outside, _) = port.split_once(':').unwrap();
            assert!(published.insert(outside.to_owned()), "port {outside} is published twice");
        }
    }
    assert_eq!(strings(&compose["services"]["nats"]["networks"]), ["inside"], "nobody else may reach NATS");
}

#[test]
fn the_balancer_knows_all_nodes_at_the_port_that_they_serve() {
    let compose = compose();
    let caddyfile = compose["configs"]["caddyfile"]["content"].as_str().unwrap();
    let upstreams = caddyfile.lines().find_map(|line| line.trim().strip_prefix("reverse_proxy ")).unwrap();
    let upstreams: BTreeSet<&str> = upstreams.trim_end_matches('{').split_whitespace().collect();
    let image = std::fs::read_to_string(deploy().join("Containerfile")).unwrap();
    assert!(image.contains("EXPOSE 8080/tcp 1935/tcp") && image.contains("CARDUME_DATA_DIR=/data"));
    let nodes = services(&compose).filter(|(name, _)| name.starts_with("node-"));
    let expected: BTreeSet<String> = nodes.map(|(name, _)| format!("{name}:8080")).collect();
    assert!(upstreams.iter().copied().eq(expected.iter().map(String::as_str)), "{upstreams:?}");
}

#[test]
fn a_node_takes_its_environment() {
    let compose = compose();
    let template = tracker().arg("config").output().unwrap();
    let template = String::from_utf8(template.stdout).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for node in nodes(&compose) {
        let environment = node["environment"].as_mapping().unwrap();
        let environment =
            environment.iter().map(|(name, value)| (name.as_str().unwrap(), value.as_str().unwrap()));
        // Ports of this machine may be taken; what the image says of the directory is not for it.
        let mut command = tracker();
        command.args(["check", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--data-dir"]);
        command.arg(directory.path());
        for (name, value) in environment {
            assert!(template.contains(&format!("`{name}`")), "there is no {name}");
            command.env(name, value);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn nats_server_takes_its_arguments() {
    let compose = compose();
    let directory = tempfile::tempdir().unwrap();
    let arguments = strings(&compose["services"]["nats"]["command"]);
    assert!(arguments.contains(&"--jetstream"));
    let (volume, data) = strings(&compose["services"]["nats"]["volumes"])[0].split_once(':').unwrap();
    assert!(volume == "nats" && arguments.contains(&data), "what it stores is kept");
    let here = arguments.iter().map(|argument| {
        if *argument == data { directory.path().display().to_string() } else { (*argument).to_owned() }
    });
    // It reads all arguments, and says only this.
    let output = Command::new("nats-server")
        .args(here)
        .arg("--version")
        .output()
        .expect("nats-server is needed: cargo xtask setup --tests, or apt-get install nats-server");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("nats-server: v"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
