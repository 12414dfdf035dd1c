//! Signatures in the audit log: who rewrites it as a whole, chain and all, lacks the key.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reset_gatekeeper::audit::{AuditSink, Format, JsonLines, PublicKey, Signer, segments};
use reset_gatekeeper::testing::time;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::audit_files::{Place, keep, record};
use crate::serve::COLUMNS;
use crate::stage::NOW;

const SIGNATURE: &str = ",\"signature\":\"";
const SIGNS: &str = ",\"signs\":";

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// A key as an operator makes it: the private one, and the file of the public one.
pub(crate) struct Key {
    pub(crate) private: String,
    public: PathBuf,
}

impl Key {
    pub(crate) fn generate(folder: &Path, name: &str) -> Self {
        let (private, public) = (folder.join(name), folder.join(format!("{name}.pub")));
        run(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&private));
        run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public));
        Self { private: std::fs::read_to_string(private).unwrap(), public }
    }

    fn signer(&self) -> Signer {
        Signer::from_pem(&self.private).unwrap()
    }
}

/// What `audit verify` says of `file`, and how it exits.
fn verified(file: &Path, keys: &[&Key]) -> (Option<i32>, String) {
    verified_with(&[], file, keys)
}

fn verified_with(arguments: &[&str], file: &Path, keys: &[&Key]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
    command.args(["audit", "verify"]).args(arguments).arg(file);
    for key in keys {
        command.arg("--public-key").arg(&key.public);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

/// A log at `file` of `syncs` times three records that are synced together.
async fn write(file: &Path, syncs: usize, signer: Option<Signer>) {
    let mut log = JsonLines::builder(file);
    if let Some(signer) = signer {
        log = log.signer(signer);
    }
    let log = log.open().await.unwrap();
    for _ in 0..syncs {
        log.record(vec![record(time(NOW)); 3]).await.unwrap();
    }
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// `line`, whose record and place end with `start`, closed with a hash that fits.
fn closed(start: &str) -> String {
    format!("{start},\"hash\":\"{}\"}}\n", hex::encode(Sha256::digest(start)))
}

#[tokio::test]
async fn what_is_synced_together_is_signed_once_and_proven_by_a_key_of_openssl() {
    for format in [Format::Native, Format::Ocsf, Format::CloudEvents] {
        let place = Place::new();
        let key = Key::generate(&place.path(""), "key");
        let log = place.log().format(format).signer(key.signer()).rotate_at(8_000).open().await.unwrap();
        for _ in 0..10 {
            log.record(vec![record(time(NOW)); 3]).await.unwrap();
        }
        let files = segments(&place.file()).unwrap();
        let signed: Vec<bool> = files.iter().flat_map(|file| lines(file)).map(|line| line.contains(SIGNATURE)).collect();
        assert_eq!(signed, [false, false, true].repeat(10), "{format:?}");
        assert!(files.len() > 2);
        assert_eq!(verified(&place.file(), &[]).0, Some(0));
        let (exit, said) = verified(&place.file(), &[&key]);
        assert_eq!(exit, Some(0), "{said}");
        assert!(said.ends_with("files before it: intact, 30 records, signed\n"), "{said}");
    }
}

/// RFC 8032 §5.1, by another program, over the bytes that the documentation names.
#[tokio::test]
async fn openssl_finds_the_signature_valid() {
    let place = Place::new();
    let key = Key::generate(&place.path(""), "key");
    write(&place.file(), 2, Some(key.signer())).await;
    let (content, signature) = (place.path("content"), place.path("signature"));
    let verify = || {
        let mut command = Command::new("openssl");
        command.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"]).arg(&key.public);
        command.arg("-in").arg(&content).arg("-sigfile").arg(&signature).output().unwrap().status.success()
    };
    for line in [&lines(&place.file())[2], &lines(&place.file())[5]] {
        let record: Value = serde_json::from_str(line).unwrap();
        std::fs::write(&signature, URL_SAFE_NO_PAD.decode(record["signature"].as_str().unwrap()).unwrap()).unwrap();
        let before = line.split_once(SIGNATURE).unwrap().0;
        std::fs::write(&content, before).unwrap();
        assert!(verify());
        std::fs::write(&content, before.replace("email_unverified", "email_unverifiee")).unwrap();
        assert!(!verify());
    }
}

#[tokio::test]
async fn a_log_that_was_rewritten_as_a_whole_shows_to_who_has_the_key() {
    let place = Place::new();
    let folder = place.path("");
    let (key, other) = (Key::generate(&folder, "key"), Key::generate(&folder, "other"));
    write(&place.file(), 4, Some(key.signer())).await;
    let genuine = lines(&place.file());

    let forged = place.path("forged.jsonl");
    write(&forged, 4, None).await;
    assert_eq!(verified(&forged, &[]).0, Some(0), "a chain of one's own is whole");
    let (exit, said) = verified(&forged, &[&key]);
    assert_eq!(exit, Some(1));
    assert!(said.ends_with("forged.jsonl: not signed: records 1 to 12\n"), "{said}");

    let signed_otherwise = place.path("signed_otherwise.jsonl");
    write(&signed_otherwise, 4, Some(other.signer())).await;
    let (exit, said) = verified(&signed_otherwise, &[&key]);
    assert_eq!(exit, Some(1));
    assert!(said.ends_with("signed_otherwise.jsonl:3: its signature is valid by none of the public keys\n"), "{said}");

    // A genuine signature in another's line: the line before was altered, so this one builds on another.
    let (start, end) = genuine[2].split_once(SIGNATURE).unwrap();
    let second = closed(genuine[1].replacen("a@example.com", "b@example.com", 1).rsplit_once(",\"hash\"").unwrap().0);
    let hash = |line: &str| serde_json::from_str::<Value>(line).unwrap()["hash"].as_str().unwrap().to_owned();
    let third = format!("{}{SIGNATURE}{}", start.replace(&hash(&genuine[1]), &hash(&second)), end.split_once(",\"hash\"").unwrap().0);
    let moved = place.path("moved.jsonl");
    std::fs::write(&moved, format!("{}\n{second}{}", genuine[0], closed(&third))).unwrap();
    assert_eq!(verified(&moved, &[]).0, Some(0));
    assert!(verified(&moved, &[&key]).1.contains("moved.jsonl:3: its signature is valid by none"), "{:?}", verified(&moved, &[&key]));
}

#[tokio::test]
async fn a_signature_that_was_cut_off_shows_at_the_end_and_any_byte_of_one_without_a_key() {
    let place = Place::new();
    let key = Key::generate(&place.path(""), "key");
    write(&place.file(), 2, Some(key.signer())).await;
    let (text, lines) = (std::fs::read_to_string(place.file()).unwrap(), lines(&place.file()));
    let altered = place.path("altered.jsonl");
    let whole = |count: usize| lines[..count].iter().map(|line| format!("{line}\n")).collect::<String>();

    let bare = closed(lines[5].split_once(SIGNS).unwrap().0);
    std::fs::write(&altered, whole(5) + &bare).unwrap();
    assert_eq!(verified(&altered, &[]).0, Some(0));
    let (exit, said) = verified(&altered, &[&key]);
    assert_eq!(exit, Some(1));
    assert!(said.ends_with("altered.jsonl: not signed: records 4 to 6\n"), "{said}");
    std::fs::write(&altered, whole(2) + &closed(lines[2].split_once(SIGNS).unwrap().0) + &lines[3..].join("\n") + "\n").unwrap();
    assert!(verified(&altered, &[]).1.contains("altered.jsonl:4: it does not follow"), "what comes after builds on the signature");

    let from = whole(5).len() + lines[5].find(SIGNS).unwrap();
    for at in from..lines[5].rfind(",\"hash\"").unwrap() - lines[5].find(SIGNS).unwrap() + from {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        std::fs::write(&altered, bytes).unwrap();
        assert!(reset_gatekeeper::audit::verify(&altered).is_err(), "byte {at}");
    }
}

/// What was written before there was a key is told by its numbers, and is as it was then.
#[tokio::test]
async fn keys_may_be_changed_and_begin_late() {
    let place = Place::new();
    let folder = place.path("");
    let (first, second) = (Key::generate(&folder, "first"), Key::generate(&folder, "second"));
    write(&place.file(), 2, None).await;
    write(&place.file(), 2, Some(first.signer())).await;
    let is_signed_from = |seq: &str, keys: &[&Key]| verified_with(&["--signed-from", seq], &place.file(), keys);
    let told = |what: &str| format!("{}: {what}\n", place.file().display());
    let unsigned = |what: &str| (Some(1), format!("reset-gatekeeper: {}", told(&format!("not signed: records {what}"))));
    assert_eq!(verified(&place.file(), &[&first]), unsigned("1 to 6"));
    assert_eq!(is_signed_from("6", &[&first]), unsigned("6 to 6"));
    assert_eq!(is_signed_from("7", &[&first]), (Some(0), told("intact, 12 records, signed from number 7 on")));
    assert_eq!(verified_with(&["--signed-from", "7"], &place.file(), &[]).0, Some(2), "by which key?");

    write(&place.file(), 2, Some(second.signer())).await;
    assert_eq!(is_signed_from("7", &[&first, &second]).0, Some(0));
    assert!(is_signed_from("7", &[&first]).1.contains("audit.jsonl:15: its signature is valid by none of the public keys"));
    assert!(is_signed_from("7", &[&second]).1.contains("audit.jsonl:9: its signature is valid by none of the public keys"));
    write(&place.file(), 1, None).await;
    assert_eq!(is_signed_from("7", &[&first, &second]), unsigned("19 to 21"));
}

/// Else the next record would sign for it: a signer signs nothing that it found.
#[tokio::test]
async fn what_others_wrote_meanwhile_is_never_signed() {
    let place = Place::new();
    let key = Key::generate(&place.path(""), "key");
    write(&place.file(), 2, Some(key.signer())).await;
    let genuine = std::fs::read(place.file()).unwrap();

    // Written anew from the first on, while nothing ran.
    std::fs::remove_file(place.file()).unwrap();
    write(&place.file(), 3, None).await;
    write(&place.file(), 2, Some(key.signer())).await;
    assert_eq!(verified(&place.file(), &[]).0, Some(0));
    assert!(verified(&place.file(), &[&key]).1.ends_with("audit.jsonl: not signed: records 1 to 9\n"));

    // Added in between, while it ran.
    std::fs::write(place.file(), genuine).unwrap();
    let log = place.log().signer(key.signer()).open().await.unwrap();
    keep(&log, 1).await;
    write(&place.file(), 1, None).await;
    keep(&log, 1).await;
    assert_eq!(verified(&place.file(), &[]).0, Some(0));
    assert!(verified(&place.file(), &[&key]).1.ends_with("audit.jsonl: not signed: records 8 to 10\n"));
}

#[tokio::test]
async fn a_log_without_records_has_nothing_to_be_signed() {
    let place = Place::new();
    let key = Key::generate(&place.path(""), "key");
    keep(&place.log().signer(key.signer()).open().await.unwrap(), 0).await;
    assert_eq!(verified(&place.file(), &[&key]), (Some(0), format!("{}: intact, 0 records, signed\n", place.file().display())));
}

#[test]
fn what_is_no_key_is_told_and_none_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::generate(folder.path(), "key");
    let p256 = rcgen::KeyPair::generate().unwrap();
    for wrong in ["hunter2", "", &p256.serialize_pem(), &p256.public_key_pem(), &std::fs::read_to_string(&key.public).unwrap()] {
        assert_eq!(Signer::from_pem(wrong).unwrap_err().to_string(), "it is no private key of Ed25519 in PKCS#8 as PEM");
    }
    for wrong in ["hunter2", "", &p256.public_key_pem(), &key.private] {
        assert_eq!(PublicKey::from_pem(wrong).unwrap_err().to_string(), "it is no public key of Ed25519 as PEM");
    }
    assert_eq!(format!("{:?}", key.signer()), "Signer { .. }");
    let (exit, said) = verified(Path::new("none.jsonl"), &[&Key { public: folder.path().join("key"), ..key }]);
    assert!(exit == Some(2) && said.ends_with("key: it is no public key of Ed25519 as PEM\n"), "{said}");
}

/// From a file beside the configuration, which comes first, or from the environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sidecar_signs_what_it_records() {
    let place = crate::serve::Place::open().await;
    let (key, other) = (Key::generate(&place.path(""), "key"), Key::generate(&place.path(""), "other"));
    let (lookup, file) = (format!("email = \"{COLUMNS} lower(email) = lower($1)\""), place.path("audit.jsonl"));
    let variable = ("GATEKEEPER_AUDIT_SIGNING_KEY", other.private.as_str());
    for (audit, variables, signed) in [
        ("signing_key_file = \"key\"", &[][..], &[&key][..]),
        ("signing_key_file = \"key\"", &[variable], &[&key]),
        ("", &[variable], &[&key, &other]),
    ] {
        place.configure(&lookup, "", &format!("[audit]\n{audit}\n"));
        let sidecar = place.serve_with(variables).await;
        assert_eq!(sidecar.reset("unverified@healthy.com").await, 403);
        let (exit, said) = verified(&file, signed);
        assert!(exit == Some(0) && said.ends_with(" records, signed\n"), "{said}");
    }
    assert_eq!(verified(&file, &[&key]).0, Some(1), "the last was signed with the other");
    assert!(!std::fs::read_to_string(place.path("serve.log")).unwrap().contains("PRIVATE"));

    let check = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.args(["config", "check"]).arg(place.path("gatekeeper.toml")).env_remove("RUST_LOG").envs(variables.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (exit, said) = check(&[variable]);
    assert!(exit == Some(0) && !said.contains("PRIVATE") && !said.contains(key.private.lines().nth(1).unwrap()), "{said}");
    for wrong in ["hunter2", ""] {
        let (exit, said) = check(&[("GATEKEEPER_AUDIT_SIGNING_KEY", wrong)]);
        assert_eq!(
            (exit, said.as_str()),
            (Some(2), "reset-gatekeeper: GATEKEEPER_AUDIT_SIGNING_KEY: it is no private key of Ed25519 in PKCS#8 as PEM\n")
        );
    }
    place.configure(&lookup, "", "[audit]\nsigning_key_file = \"key.pub\"\n");
    let (exit, said) = check(&[]);
    assert!(exit == Some(2) && said.ends_with(": `audit.signing_key_file`: it is no private key of Ed25519 in PKCS#8 as PEM\n"), "{said}");
    assert!(said.contains("gatekeeper.toml:23: "), "{said}");
    place.configure(&lookup, "", "[audit]\nsigning_key_file = \"none\"\n");
    assert!(check(&[]).1.contains("/none can't be read"));
}
