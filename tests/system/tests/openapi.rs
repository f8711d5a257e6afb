//! The description of the API is of this API: the same addresses, and answers of the shape that it promises.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::collections::BTreeSet;

use cardume::http::paths;
use cardume_system_tests::{SignalClient, TestTracker, get, tracks};
use serde_json::Value;

async fn document(tracker: &TestTracker) -> Value {
    get(tracker.http(), "/v1/openapi.json").await.json()
}

/// Keywords of a schema that say something about a value; those that [`check`] knows.
const JUDGING: [&str; 8] = ["$ref", "type", "required", "properties", "items", "enum", "anyOf", "minimum"];
const SILENT: [&str; 1] = ["description"];

/// What is wrong with a value by a schema of the document. Stricter than JSON Schema: a field that is not described is wrong,
/// and so is a keyword of the schema that is not known here.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = schema.as_object().unwrap();
    let unknown =
        schema.keys().filter(|key| !JUDGING.contains(&key.as_str()) && !SILENT.contains(&key.as_str()));
    let mut wrong: Vec<String> = unknown.map(|key| format!("{at}: keyword {key}")).collect();
    if let Some(name) = schema.get("$ref") {
        let target = document.pointer(name.as_str().unwrap().strip_prefix('#').unwrap());
        return check(document, target.unwrap_or_else(|| panic!("{name} is nowhere")), value, at);
    }
    if let Some(any) = schema.get("anyOf") {
        let is_any = any.as_array().unwrap().iter().any(|one| check(document, one, value, at).is_empty());
        wrong.extend((!is_any).then(|| format!("{at}: {value} is none of them")));
    }
    let kinds = schema.get("type").map(|kind| kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]));
    if let Some(kinds) = kinds
        && !kinds.iter().any(|kind| is_of(value, kind.as_str().unwrap()))
    {
        wrong.push(format!("{at}: {value} is none of {kinds:?}"));
    }
    if let Some(allowed) = schema.get("enum").filter(|allowed| !allowed.as_array().unwrap().contains(value)) {
        wrong.push(format!("{at}: {value} is not in {allowed}"));
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        wrong.extend(list.iter().flat_map(|item| check(document, items, item, &format!("{at}[]"))));
    }
    if let (Some(fields), Some(object)) = (schema.get("properties"), value.as_object()) {
        let required = schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let missing = required.filter(|name| !object.contains_key(*name));
        wrong.extend(missing.map(|name| format!("{at}: {name} is missing")));
        for (name, value) in object {
            let at = format!("{at}.{name}");
            match fields.get(name) {
                Some(schema) => wrong.extend(check(document, schema, value, &at)),
                None => wrong.push(format!("{at}: is not described")),
            }
        }
    }
    wrong
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "null" => value.is_null(),
        other => panic!("type {other} is not known here"),
    }
}

#[tokio::test]
async fn every_address_is_described_and_nothing_else() {
    let (tracker, _directory) = TestTracker::start("").await;
    let document = document(&tracker).await;
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let answered: BTreeSet<String> = paths().into_iter().map(|path| path.replace("{*", "{")).collect();
    assert_eq!(described, answered);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn answers_are_of_the_shape_that_is_described() {
    let toml = "egress_limit = \"8 Mbit/s\"\negress_bytes_per_month = \"1 TB\"";
    for toml in ["", toml] {
        let (tracker, _directory) = TestTracker::start(toml).await;
        let document = document(&tracker).await;
        let (_viewer, _) = SignalClient::join(tracker.http(), "live").await;
        let _broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
        let mut n_checked = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (address, status) in [("live", "200"), ("nowhere", "404")] {
                let pointer = ["get", "responses", status, "content", "application/json", "schema"];
                let schema = pointer.iter().try_fold(item, |value, key| value.get(key));
                let Some(schema) = schema.filter(|_| !path.contains("announce")) else { continue };
                let reply = get(tracker.http(), &path.replace("{channel}", address)).await;
                assert_eq!(reply.status.to_string(), status, "{path}");
                let wrong = check(&document, schema, &reply.json(), path);
                assert!(wrong.is_empty(), "{wrong:#?}");
                n_checked += 1;
            }
        }
        assert_eq!(n_checked, 9, "six answers and the document, and two refusals");
    }
}

#[test]
fn the_checker_sees_what_is_wrong() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["integer", "null"] }, "b": { "type": "string", "enum": ["x"] } }
    });
    for (value, expected) in [
        (serde_json::json!({ "a": null, "b": "x" }), 0),
        (serde_json::json!({ "b": "y" }), 2),
        (serde_json::json!({ "a": 1, "c": 1 }), 1),
        (serde_json::json!({ "a": "1" }), 1),
        (serde_json::json!([]), 1),
    ] {
        assert_eq!(check(&Value::Null, &schema, &value, "").len(), expected, "{value}");
    }
}
