//! The record in the forms that other programs collect, and with its addresses hashed: one chain, one reader, whichever form.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use reset_gatekeeper::Reply;
use reset_gatekeeper::audit::{AuditSink, EmailKey, Emails, Format, JsonLines, Record, native, verify};
use serde_json::{Value, json};

use crate::stage::Stage;

const FORMATS: [Format; 3] = [Format::Native, Format::Ocsf, Format::CloudEvents];
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A record about a@example.com, with `changes`.
pub(crate) fn record(changes: &Value) -> Record {
    let mut record = json!({
        "id": "019c1443-0000-7000-8000-000000000001", "time": "2026-01-31T12:00:00.123Z", "event": "reset_blocked", "verdict": "block", "enforced": true,
        "reasons": ["domain_redemption"],
        "account": {"id": "42", "email": "a@example.com", "verified": true, "verified_at": "2021-05-04T00:00:00Z"},
        "domain": {
            "name": "example.com", "standing": "redemption", "registered_at": "2009-01-01T00:00:00Z", "expires_at": "2026-01-01T00:00:00Z",
            "checked_at": "2026-01-31T12:00:00Z", "source": "rdap", "cached": false, "stale": false
        },
        "request": {"method": "POST", "path": "/reset", "client": "203.0.113.7", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    });
    for (name, value) in changes.as_object().unwrap() {
        record[name] = value.clone();
    }
    serde_json::from_value(record).unwrap()
}

/// One of each kind.
fn records() -> Vec<Record> {
    let exemption = json!({
        "id": "019c1443-0000-7000-8000-000000000002", "domain": "example.com", "until": "2026-02-28T00:00:00Z", "reason": "a@example.com rang", "by": "ops@example.net",
        "given_at": "2026-01-30T00:00:00Z"
    });
    let account = |id: &str, email: &str| json!({"id": id, "email": email, "verified": true, "verified_at": null});
    [
        json!({}),
        json!({"enforced": false}),
        json!({"event": "reset_allowed", "verdict": "allow", "reasons": [], "notices": ["domain_expires_soon"]}),
        json!({"event": "reset_allowed", "verdict": "allow", "reasons": [], "enforced": false}),
        json!({"event": "reset_allowed", "verdict": "allow", "exemption": exemption}),
        json!({"event": "email_unverified", "reasons": ["domain_reregistered"], "request": null}),
        json!({"event": "email_unverified", "enforced": false}),
        json!({"event": "domain_changed", "account": null, "request": null}),
        json!({"event": "domain_changed", "verdict": "allow", "reasons": [], "account": null, "request": null}),
        json!({"event": "source_failed", "reasons": ["domain_unknown"], "account": null, "request": null}),
        json!({"reasons": ["target_missing"], "account": null, "domain": null}),
        json!({"account": account("a@example.com", "A@Example.com")}),
        json!({"account": account("43", "\"a b\"@example.com")}),
        json!({"account": account("44", "jörg@example.com")}),
        json!({"request": {"method": "POST", "path": "/reset/a%40example.com/YUBleGFtcGxlLmNvbQ", "client": "2001:db8::7", "trace_id": null}}),
        json!({"request": {"method": "BREW", "path": "/reset", "client": null, "trace_id": null}}),
    ]
    .iter()
    .map(record)
    .collect()
}

async fn write(file: &Path, format: Format, emails: Emails, records: &[Record]) {
    let log = JsonLines::builder(file).format(format).emails(emails).open().await.unwrap();
    log.record(records.to_vec()).await.unwrap();
}

fn hashed() -> Emails {
    Emails::Hashed(EmailKey::new(KEY.as_bytes()).unwrap())
}

fn lines(file: &Path) -> Vec<Value> {
    std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The record in what was written or sent.
pub(crate) fn native_of(text: &str) -> Value {
    serde_json::from_str(native(text).unwrap().1).unwrap()
}

#[tokio::test]
async fn a_log_in_any_format_is_one_chain_that_holds_the_record_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let file = folder.path().join(format!("{format:?}.jsonl"));
        write(&file, format, Emails::Plain, &records()).await;
        assert_eq!(verify(&file).unwrap(), records().len() as u64);
        let text = std::fs::read_to_string(&file).unwrap();
        let read = text.lines().map(|line| serde_json::from_value::<Record>(native_of(line)).unwrap());
        assert_eq!(read.collect::<Vec<_>>(), records(), "{format:?}");
    }
    // And goes on in another.
    let file = folder.path().join("mixed.jsonl");
    for (round, format) in FORMATS.into_iter().chain(FORMATS).enumerate() {
        write(&file, format, Emails::Plain, &records()[..2]).await;
        assert_eq!(verify(&file).unwrap(), 2 * (round as u64 + 1));
    }
}

#[tokio::test]
async fn a_line_of_any_format_that_was_torn_is_repaired_and_one_changed_byte_shows() {
    let folder = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let file = folder.path().join(format!("{format:?}.jsonl"));
        write(&file, format, Emails::Plain, &records()[..2]).await;
        let whole = std::fs::read(&file).unwrap();
        let line = whole.iter().position(|byte| *byte == b'\n').unwrap();
        for length in [1, 5, 12, 40, line] {
            std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(&whole[..length]).unwrap();
            write(&file, format, Emails::Plain, &[]).await;
            assert!(std::fs::read(&file).unwrap() == whole, "{format:?}: {length}");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            std::fs::write(&file, &altered).unwrap();
            assert!(verify(&file).is_err(), "{format:?}: byte {at}");
        }
    }
}

/// CloudEvents 1.0, §3.1 and §3.2.
#[tokio::test]
async fn a_cloudevent_has_the_attributes_that_consumers_route_by() {
    let (folder, records) = (tempfile::tempdir().unwrap(), records());
    let file = folder.path().join("audit.jsonl");
    write(&file, Format::CloudEvents, Emails::Plain, &records).await;
    let events = lines(&file);
    let mut first = events[0].clone();
    let data = first.as_object_mut().unwrap().remove("data").unwrap();
    assert_eq!(
        first,
        json!({
            "specversion": "1.0", "id": "019c1443-0000-7000-8000-000000000001", "source": "/reset-gatekeeper", "type": "reset-gatekeeper.reset_blocked",
            "subject": "account/42", "time": "2026-01-31T12:00:00.123Z", "datacontenttype": "application/json"
        })
    );
    assert_eq!((&data["seq"], &data["reasons"][0]), (&json!(1), &json!("domain_redemption")));
    assert_eq!(events[7]["subject"], "domain/example.com");
    assert_eq!(events[10].get("subject"), None, "it is about nobody");
}

/// OCSF 1.9.0, User Management with the profile Security Control.
#[tokio::test]
async fn an_ocsf_event_says_what_the_control_did() {
    let (folder, records) = (tempfile::tempdir().unwrap(), records());
    let file = folder.path().join("audit.jsonl");
    write(&file, Format::Ocsf, Emails::Plain, &records).await;
    let events = lines(&file);
    let blocked = &events[0];
    for (pointer, value) in [
        ("/class_uid", json!(3007)),
        ("/category_uid", json!(3)),
        ("/activity_id", json!(9)),
        ("/type_uid", json!(300_709)),
        ("/time", json!(1_769_860_800_123_u64)),
        ("/severity_id", json!(3)),
        ("/status_id", json!(2)),
        ("/status_code", json!("domain_redemption")),
        ("/message", json!("A password reset was blocked: domain_redemption")),
        ("/metadata/version", json!("1.9.0")),
        ("/metadata/profiles", json!(["security_control"])),
        ("/metadata/uid", json!("019c1443-0000-7000-8000-000000000001")),
        ("/metadata/sequence", json!(1)),
        ("/metadata/correlation_uid", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("/user", json!({"uid": "42", "email_addr": "a@example.com"})),
        ("/src_endpoint/ip", json!("203.0.113.7")),
        ("/http_request", json!({"http_method": "POST", "url": {"path": "/reset"}})),
        ("/is_alert", json!(true)),
        ("/unmapped/event", json!("reset_blocked")),
    ] {
        assert_eq!(blocked.pointer(pointer), Some(&value), "{pointer}");
    }
    // Class, activity, status, action (1 allowed, 2 denied, 3 observed), disposition.
    let told =
        |event: &Value| ["class_uid", "activity_id", "status_id", "action_id", "disposition_id"].map(|name| event[name].as_u64().unwrap());
    let expected = [
        [3007, 9, 2, 2, 2],
        [3007, 9, 0, 3, 15],
        [3007, 9, 0, 1, 1],
        [3007, 9, 0, 3, 17],
        [3007, 9, 0, 1, 8],
        [3007, 2, 1, 2, 24],
        [3007, 2, 0, 3, 15],
        [3004, 3, 1, 3, 17],
        [3004, 3, 1, 3, 17],
        [3004, 2, 2, 3, 17],
        [3007, 9, 2, 2, 2],
    ];
    assert_eq!(events[..expected.len()].iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(events[5]["severity_id"], 4, "it begins like a take-over");
    assert_eq!(events[7]["entity"], json!({"name": "example.com", "type": "Domain", "type_id": 99}));
    assert_eq!(events[10]["user"], json!({"name": "unknown"}));
    assert_eq!(events[12]["user"], json!({"uid": "43", "uid_alt": "\"a b\"@example.com"}), "the schema has no form for such an address");
    assert_eq!(events[15]["http_request"], json!({"url": {"path": "/reset"}}), "nor for such a method");
}

#[tokio::test]
async fn where_addresses_are_hashed_none_is_written_in_any_format() {
    let folder = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let file = folder.path().join(format!("{format:?}.jsonl"));
        write(&file, format, hashed(), &records()).await;
        assert_eq!(verify(&file).unwrap(), records().len() as u64);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains('@') && !text.contains("%40") && !text.contains("YUBleGFtcGxlLmNvbQ"), "{text}");
        let hash = hashed().written("a@example.com");
        assert!(hash.starts_with("hmac-sha256:") && text.matches(&hash).count() > 10);
        let lines = text.lines().map(native_of).collect::<Vec<_>>();
        assert_eq!(lines[11]["account"]["email"], hash, "in whichever case it is written");
        assert_eq!(lines[11]["account"]["id"], hash);
        assert_eq!(lines[14]["request"]["path"], format!("/reset/{hash}/{hash}"));
        assert_eq!(lines[0]["domain"]["name"], "example.com");
    }
}

/// The same through the layer, where the address comes in the path.
#[tokio::test]
async fn an_address_in_the_path_of_a_request_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let log = JsonLines::builder(&file).emails(hashed()).open().await.unwrap();
    let stage = Stage::with(Reply::refuse(), |builder| builder.audit(Arc::new(log))).await;
    stage.accounts.insert("a@example.com", false, None);
    for path in ["/by-path/a@example.com/reset", "/by-path/a%40example.com/reset", "/by-path/nobody%40example.com/reset"] {
        stage.http.post(stage.url(path)).send().await.unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains('@') && !text.contains("%40"), "{text}");
    assert_eq!(text.lines().count(), 3);
    assert!(text.contains(&format!("/by-path/{}/reset", hashed().written("nobody@example.com"))));
}

fn show(file: &Path, arguments: &[&str], key: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
    command
        .args(["audit", "show"])
        .arg(file)
        .args(arguments)
        .env_remove("GATEKEEPER_AUDIT_KEY")
        .envs(key.map(|key| ("GATEKEEPER_AUDIT_KEY", key)));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[tokio::test]
async fn who_has_the_key_finds_the_records_of_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    write(&file, Format::Native, hashed(), &records()).await;
    let about = records()
        .iter()
        .filter(|record| record.account.as_ref().is_some_and(|account| account.email.eq_ignore_ascii_case("a@example.com")))
        .count();
    let account = ["--account", "A@example.com"];
    assert_eq!(show(&file, &account, Some(KEY)).lines().count(), about);
    assert_eq!(show(&file, &account, None), "");
    assert_eq!(show(&file, &account, Some("another key, which is as long as a key must be")), "");
}

/// Programs of others, installed by `.ci/consumers`.
#[tokio::test]
#[ignore = "needs Python and packages of its registry"]
async fn every_format_is_read_by_programs_that_are_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [("ocsf", Format::Ocsf), ("cloudevents", Format::CloudEvents)] {
        write(&folder.path().join(format!("{name}.jsonl")), format, Emails::Plain, &records()).await;
        write(&folder.path().join(format!("{name}-hashed.jsonl")), format, hashed(), &records()).await;
    }
    consumers(folder.path());
}

/// Has the programs of others read what is in `folder`.
pub(crate) fn consumers(folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/consumers");
    let output = Command::new(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}
