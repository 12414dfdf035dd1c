//! `gatekeeper.toml`: what is valid, what it amounts to, and how a mistake is told.

use std::path::Path;
use std::process::{Command, Output};

const SITE: &str = r#"
listen = "127.0.0.1:0"
upstream = "http://127.0.0.1:3000"

[reply]
mode = "decoy"

[[guard]]
path = "/accounts/{uid}/reset/"
methods = ["POST"]
target = ["form:email", "json:/email"]

[directory]
url = "postgres://app@db.internal/app"
unverify = "UPDATE users SET verified = 0 WHERE id = $1"
page = "SELECT id, email, verified, verified_at FROM users WHERE id > $1 ORDER BY id LIMIT $2"
[directory.lookup]
email = "SELECT id, email, verified, verified_at FROM users WHERE lower(email) = lower($1)"
"#;

fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
    command.current_dir(folder).args(arguments).envs(variables.iter().copied()).env_remove("RUST_LOG").output().unwrap()
}

fn check(text: &str, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gatekeeper.toml"), text).unwrap();
    let output = run(folder.path(), &["config", "check", "gatekeeper.toml"], variables);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// INTERFACE §1: validates, prints the effective configuration with secrets masked, connects to nothing.
#[test]
fn the_effective_configuration_is_printed_without_secrets() {
    let url = ("GATEKEEPER__DIRECTORY__URL", "postgres://app:hunter2@db.internal/app");
    let (exit, printed, told) =
        check(SITE, &[url, ("GATEKEEPER__POLICY__EXPIRING_WITHIN", "14d"), ("GATEKEEPER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]")]);
    assert_eq!((exit, told.as_str()), (Some(0), ""));
    let (_, _, told) = check(&SITE.replace("app@db", "app:hunter2@db"), &[]);
    assert!(told.contains("`directory.url` holds a password") && !told.contains("hunter2"), "{told}");
    let state = SITE.to_owned() + "\n[state]\nurl = \"postgres://app:hunter2@db.internal/state\"\n";
    let (exit, effective, told) = check(&state, &[]);
    assert_eq!(exit, Some(0));
    assert!(told.contains("`state.url` holds a password") && !told.contains("hunter2"), "{told}");
    assert!(!effective.contains("hunter2") && effective.contains("postgres://app:***@db.internal/state"), "{effective}");
    assert!(!printed.contains("hunter2") && printed.contains("postgres://app:***@db.internal/app"), "{printed}");
    let table: toml::Table = printed.parse().unwrap();
    assert_eq!(table["policy"]["expiring_within"].as_str(), Some("14d"), "as it was written");
    assert_eq!(table["trusted_proxies"][0].as_str(), Some("10.0.0.0/8"));
    assert_eq!(table["timeout"].as_str(), Some("30s"), "defaults are printed too");
    assert_eq!(table["guard"][0]["target"][1].as_str(), Some("json:/email"));
    // What is printed is a configuration itself.
    assert_eq!(check(&printed, &[]).0, Some(0));
}

/// INTERFACE §1: the effective configuration, and so also what was left out.
#[test]
fn every_setting_in_effect_is_printed_as_it_would_be_written() {
    let effective = |text: &str, variables: &[(&str, &str)]| {
        let (exit, printed, told) = check(text, variables);
        assert_eq!(exit, Some(0), "{told}");
        assert_eq!(check(&printed, variables).1, printed, "what is printed is a configuration that is the same");
        printed.parse::<toml::Table>().unwrap()
    };
    let text = |table: &toml::Table, section: &str, key: &str| table[section].get(key).map(|value| value.as_str().unwrap().to_owned());
    let holds = |table: &toml::Table, settings: &[(&str, &str, &str)]| {
        for (section, key, value) in settings {
            assert_eq!(text(table, section, key).as_deref(), Some(*value), "{section}.{key}");
        }
    };
    let table = effective(SITE, &[]);
    let settings = [
        ("reply", "floor", "500ms"),
        ("reply", "decoy_domain", "gatekeeper.invalid"),
        ("domains", "timeout", "2s"),
        ("domains", "fresh_for", "1h"),
        ("domains", "stale_for", "7d"),
        ("policy", "expiring_within", "7d"),
        ("policy", "notice_within", "30d"),
    ];
    holds(&table, &settings);
    assert_eq!(table["guard"][0]["body_limit"].as_str(), Some("64KiB"));
    assert_eq!(table["domains"]["providers"].as_array().unwrap().len(), 30);
    assert!(!table["audit"].as_table().unwrap().contains_key("webhook_format"), "nothing is pushed");

    // Only a decoy has made-up addresses and a floor of its own.
    let refusing = effective(&SITE.replace("decoy", "refuse"), &[]);
    assert_eq!((text(&refusing, "reply", "floor").as_deref(), text(&refusing, "reply", "decoy_domain")), (Some("0s"), None));

    let said = SITE
        .replace("mode = \"decoy\"", "mode = \"decoy\"\nfloor = \"1s 500ms\"\ndecoy_domain = \"nomail.example\"")
        .replace("methods = [\"POST\"]", "body_limit = \"1 MiB\"")
        + "\n[domains]\nfresh_for = \"90m\"\nstale_for = \"1week\"\nproviders = []\n[state]\nurl = \"sqlite:state.db\"\n\
          [audit]\nformat = \"ocsf\"\nwebhook = \"https://hooks.example\"\n";
    let secret = ("GATEKEEPER_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let table = effective(&said, &[secret]);
    let settings = [
        ("reply", "floor", "1s 500ms"),
        ("reply", "decoy_domain", "nomail.example"),
        ("domains", "fresh_for", "90m"),
        ("domains", "stale_for", "1week"),
        ("audit", "webhook_format", "ocsf"),
    ];
    holds(&table, &settings);
    assert_eq!(table["guard"][0]["body_limit"].as_str(), Some("1 MiB"));
    assert_eq!(table["domains"]["providers"].as_array().unwrap().len(), 0);
}

#[test]
fn a_mistake_is_told_with_file_line_and_key() {
    let replaced = |from: &str, to: &str| {
        assert!(SITE.contains(from), "{from}");
        SITE.replace(from, to)
    };
    for (text, told) in [
        (replaced("[reply]\nmode", "[reply]\nmod"), "gatekeeper.toml:6: `reply`: unknown field `mod`"),
        (replaced("mode = \"decoy\"", "mode = \"decoi\""), "gatekeeper.toml:6: `reply.mode`: unknown variant `decoi`"),
        (replaced("mode = \"decoy\"", "mode = \"decoi\""), "did you mean `decoy`?"),
        (replaced("mode = \"decoy\"", ""), "missing field `mode`"),
        (replaced("[reply]\nmode = \"decoy\"", ""), "`reply.mode` is missing"),
        (replaced("mode = \"decoy\"", "mode = \"decoy\"\nfloor = 5"), "gatekeeper.toml:7: `reply.floor`: invalid type: integer `5`"),
        (replaced("mode = \"decoy\"", "mode = \"decoy\"\ndecoy_domain = \"a b\""), "gatekeeper.toml:7: `reply.decoy_domain`"),
        (replaced("path = \"/accounts", "path = \"accounts"), "gatekeeper.toml:9: `guard.path`"),
        (replaced("{uid}/", "{uid/"), "gatekeeper.toml:9: `guard.path`"),
        (replaced("\"form:email\"", "\"from:email\""), "gatekeeper.toml:11: `guard.target`: `from:email`"),
        (replaced("\"form:email\"", "\"path:user\""), "`guard.target`: the path has no parameter `{user}`"),
        (replaced("[\"form:email\", \"json:/email\"]", "[]"), "`guard.target`: it lists no place"),
        (replaced("[\"form:email\", \"json:/email\"]", "7"), "gatekeeper.toml:11: `guard.target`: invalid type: integer `7`"),
        (replaced("methods = [\"POST\"]", "methods = [\"PO ST\"]"), "gatekeeper.toml:10: `guard.methods`"),
        (replaced("methods = [\"POST\"]", "limit = \"5/week\""), "gatekeeper.toml:10: `guard.limit`: `5/week`"),
        (replaced("methods = [\"POST\"]", "body_limit = \"64 elephants\""), "gatekeeper.toml:10: `guard.body_limit`"),
        (replaced("methods = [\"POST\"]", "decode = \"base32\""), "gatekeeper.toml:10: `guard.decode`: `base32`"),
        (
            replaced("methods = [\"POST\"]", "identifies = \"token\""),
            "gatekeeper.toml:8: `guard.identifies`: no query `directory.lookup.token`",
        ),
        (replaced("methods = [\"POST\"]", "identifes = \"token\""), "did you mean `identifies`?"),
        (replaced("listen = \"127.0.0.1:0\"", "listen = \"here\""), "gatekeeper.toml:2: `listen`: `here`"),
        (replaced("http://127.0.0.1:3000", "http://127.0.0.1:3000/app"), "gatekeeper.toml:3: `upstream`"),
        (replaced("http://127.0.0.1:3000", "ftp://127.0.0.1"), "gatekeeper.toml:3: `upstream`"),
        (replaced("upstream = \"http://127.0.0.1:3000\"", ""), "`upstream` is missing"),
        (replaced("upstream =", "trusted_proxies = [\"10.0.0.0/99\"]\nupstream ="), "gatekeeper.toml:3: `trusted_proxies"),
        (replaced("postgres://app@db.internal/app", "mysql://x"), "gatekeeper.toml:14: `directory.url`"),
        (replaced("[directory.lookup]\nemail", "[directory.lookup]\nemial"), "did you mean `email`?"),
        (format!("{SITE}\n[state]\nurl = \"redis://x\"\n"), "gatekeeper.toml:21: `state.url`"),
        (format!("{SITE}\n[state]\n"), "`state.url` is missing"),
        (
            format!("{SITE}\n[state]\nurl = \"sqlite:a\"\nurl_file = \"b\"\n"),
            "gatekeeper.toml:21: `state.url` and `state.url_file` exclude",
        ),
        (
            format!("{SITE}\n[domains]\nfresh_for = \"30m\"\nstale_for = \"10m\"\n"),
            "gatekeeper.toml:22: `domains.stale_for`, \"10m\", must not be shorter than `domains.fresh_for`, \"30m\"",
        ),
        (
            format!("{SITE}\n[domains]\nfresh_for = \"14d\"\n"),
            "gatekeeper.toml:21: `domains.stale_for`, \"7d\", must not be shorter than `domains.fresh_for`, \"14d\"",
        ),
        (format!("{SITE}\n[audit]\nformat = \"cef\"\n"), "gatekeeper.toml:21: `audit.format`: unknown variant `cef`"),
        (format!("{SITE}\n[audit]\nemails = \"hidden\"\n"), "gatekeeper.toml:21: `audit.emails`: unknown variant `hidden`"),
        (format!("{SITE}\n[audit]\nemails = \"hashed\"\n"), "GATEKEEPER_AUDIT_KEY: `audit.emails` is \"hashed\", and the variable"),
        (format!("{SITE}\n[directory]\n"), "gatekeeper.toml:20: "),
        (format!("{SITE}\n[sweep]\nevry = \"1h\"\n"), "gatekeeper.toml:21: `sweep`: unknown field `evry`"),
        (format!("{SITE}\n[sweep]\nevry = \"1h\"\n"), "did you mean `every`?"),
        (format!("{SITE}\n[sweep]\nevery = \"daily\"\n"), "gatekeeper.toml:21: `sweep.every`: `daily`: it is no duration"),
        (format!("{SITE}\n[sweep]\nevery = \"0s\"\n"), "gatekeeper.toml:21: `sweep.every`: `0s`: it is no duration above zero"),
        (format!("{SITE}\n[sweep]\n\nrecheck_after = 30\n"), "gatekeeper.toml:22: `sweep.recheck_after`: invalid type: integer `30`"),
        (format!("{SITE}\n[sweep]\nrate = \"0/s\"\n"), "gatekeeper.toml:21: `sweep.rate`: `0/s`: it is no rate such as \"10/s\""),
        (format!("{SITE}\n[sweep]\nrate = \"10\"\n"), "gatekeeper.toml:21: `sweep.rate`: `10`"),
        (format!("{SITE}\n[sweep]\nbrake = \"0.1\"\n"), "gatekeeper.toml:21: `sweep.brake`: `0.1`: it is no share such as \"10%\""),
        (format!("{SITE}\n[sweep]\nbrake = \"101%\"\n"), "gatekeeper.toml:21: `sweep.brake`: `101%`"),
        (format!("{SITE}\n[sweep]\nbrake = 0.1\n"), "gatekeeper.toml:21: `sweep.brake`: invalid type: floating point `0.1`"),
        (
            format!("{}\n[sweep]\n", replaced("page =", "# page =")),
            "gatekeeper.toml:13: `directory.page` is missing: the sweep goes through all accounts with it",
        ),
        ("nonsense".to_owned(), "gatekeeper.toml:1: "),
    ] {
        let (exit, printed, said) = check(&text, &[]);
        assert_eq!((exit, printed.as_str()), (Some(2), ""), "{told}: {said}");
        assert!(said.contains(told), "{told} is not in {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "one message: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_mistake_in_the_environment_or_a_flag_is_told_by_its_name() {
    for (name, value, told) in [
        ("GATEKEEPER__REPLY__MODE", "loud", "GATEKEEPER__REPLY__MODE: `reply.mode`: unknown variant `loud`"),
        ("GATEKEEPER__REPLY__MOOD", "good", "GATEKEEPER__REPLY__MOOD: `reply`: unknown field `mood`"),
        ("GATEKEEPER__TRUSTED_PROXIES", "[\"x\"]", "GATEKEEPER__TRUSTED_PROXIES: `trusted_proxies"),
        ("GATEKEEPER__DIRECTORY__URL", "nowhere", "GATEKEEPER__DIRECTORY__URL: `directory.url`"),
    ] {
        let (exit, _, said) = check(SITE, &[(name, value)]);
        assert_eq!(exit, Some(2));
        assert!(said.contains(told), "{told} is not in {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gatekeeper.toml"), SITE).unwrap();
    let output =
        run(folder.path(), &["serve", "--config", "gatekeeper.toml", "--listen", "nowhere"], &[("GATEKEEPER__LISTEN", "127.0.0.1:0")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--listen: `listen`: `nowhere`"), "{output:?}");
}

/// A secret may stand in a file of its own, relative to the configuration.
#[test]
fn a_secret_comes_from_a_file_of_its_own() {
    let text = SITE.replace("url = \"postgres://app@db.internal/app\"", "url_file = \"secret/url\"");
    let (exit, _, said) = check(&text, &[]);
    assert_eq!(exit, Some(2));
    assert!(said.contains("secret/url can't be read"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secret")).unwrap();
    std::fs::write(folder.path().join("secret/url"), "postgres://app:hunter2@db.internal/app\n").unwrap();
    std::fs::write(folder.path().join("gatekeeper.toml"), text).unwrap();
    let output = run(folder.path(), &["config", "check", "gatekeeper.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hunter2"));
}

#[test]
fn a_sweep_is_part_of_what_is_in_effect() {
    let (exit, printed, _) = check(&format!("{SITE}\n[sweep]\nrate = \"600/m\"\n"), &[("GATEKEEPER__SWEEP__BRAKE", "5%")]);
    assert_eq!(exit, Some(0));
    let table: toml::Table = printed.parse().unwrap();
    let sweep = |key: &str| table["sweep"][key].as_str().unwrap().to_owned();
    assert_eq!(["every", "recheck_after", "rate", "brake"].map(sweep), ["24h", "30d", "600/m", "5%"]);
    assert_eq!(check(&printed, &[]).0, Some(0));
    assert!(!check(SITE, &[]).1.contains("[sweep]"), "without the section, nothing is swept");
    // An application that answers by itself, and the built-in table, have pages of their own.
    for directory in ["url = \"https://app.internal/gatekeeper\"", "url = \"sqlite:accounts.db\""] {
        let (exit, _, said) = check(&format!("[directory]\n{directory}\n[sweep]\n"), &[]);
        assert_eq!(exit, Some(0), "a file for the sweep alone, {directory}: {said}");
    }
    let (exit, _, said) = check("[sweep]\n", &[]);
    assert!(exit == Some(2) && said.contains("`directory.url` is missing"), "{said}");
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["config", "check", "missing.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing.toml can't be read"));
}

/// The example with every key is one that works.
#[test]
fn the_example_configuration_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let output = run(&folder, &["config", "check", "gatekeeper.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_configurations_to_deploy_are_valid() {
    let read = |name| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy").join(name)).unwrap();
    let manifest = read("kubernetes.yaml");
    let (_, mounted) = manifest.split_once("gatekeeper.toml: |\n").unwrap();
    let mounted = mounted.lines().take_while(|line| *line != "---").map(|line| line.strip_prefix("    ").unwrap_or(line));
    let secrets = tempfile::tempdir().unwrap();
    let urls = ["directory-url", "state-url"].map(|name| (name, "postgres:///app"));
    for (name, secret) in urls.into_iter().chain([("admin-token", "sixteen bytes at least")]) {
        std::fs::write(secrets.path().join(name), secret).unwrap();
    }
    let secrets = secrets.path().to_str().unwrap();
    let (mounted, installed) = (mounted.collect::<Vec<_>>().join("\n"), read("gatekeeper.toml"));
    for (text, place) in [(mounted, "/etc/secrets"), (installed, "/run/credentials/reset-gatekeeper.service")] {
        assert!(text.contains(place), "{text}");
        let (exit, _, told) = check(&text.replace(place, secrets), &[]);
        assert_eq!((exit, told.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_key_that_is_too_short_is_told_and_never_printed() {
    let hashed = format!("{SITE}\n[audit]\nformat = \"ocsf\"\nemails = \"hashed\"\n");
    let (exit, _, told) = check(&hashed, &[("GATEKEEPER_AUDIT_KEY", "a short key")]);
    assert_eq!(exit, Some(2));
    assert!(
        told.contains("GATEKEEPER_AUDIT_KEY: `audit.emails` is \"hashed\": a key has at least 32 bytes") && !told.contains("a short key"),
        "{told}"
    );
    let (exit, printed, told) = check(&hashed, &[("GATEKEEPER_AUDIT_KEY", "a key that has as many bytes as it must")]);
    assert_eq!(exit, Some(0), "{told}");
    assert!(
        printed.contains("format = \"ocsf\"") && printed.contains("emails = \"hashed\"") && !printed.contains("a key that"),
        "{printed}"
    );
}
