//! The command, run as its user runs it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use reset_gatekeeper::domain::Mail;
use reset_gatekeeper::testing::{DnsFault, Fault, NameServer, Phase, Registry, time};
use serde_json::Value;

struct Bench {
    registry: Registry,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn open() -> Self {
        let registry = Registry::start().await.unwrap();
        for domain in ["example.com", "lapsed.com", "github.io"] {
            registry.register(domain, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        }
        registry.lapse("lapsed.com");
        let bench = Self { registry, folder: tempfile::tempdir().unwrap() };
        std::fs::write(bench.folder.path().join("dns.json"), bench.registry.bootstrap_file()).unwrap();
        bench.configure("");
        bench
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("gatekeeper.toml")
    }

    fn configure(&self, more: &str) {
        // Sections of other commands may be there, and a path is relative to the file.
        let text = format!(
            "listen = \"127.0.0.1:8080\"\n{more}\n[domains]\nsources = [\"rdap\"]\n[domains.rdap]\nbootstrap = \"dns.json\"\nallow_insecure = true\n\n[[guard]]\npath = \"/x\"\ntarget = \"form:x\"\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    async fn check(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.arg("check").args(arguments).arg("--config").arg(self.config()).envs(variables.iter().copied()).env_remove("RUST_LOG");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

fn objects(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn check_exits_with_the_worst_of_its_targets() {
    let bench = Bench::open().await;
    for (targets, exit) in [
        (&["example.com"][..], 0),
        (&["a@mail.example.com"], 0),
        (&["example.com", "a@lapsed.com"], 1),
        (&["lapsed.com", "example.zz"], 2),
        (&["example.com", "no address@"], 2),
        (&["com"], 2),
    ] {
        let output = bench.check(targets, &[]).await;
        assert_eq!(output.status.code(), Some(exit), "{targets:?}: {output:?}");
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(targets.iter().all(|target| table.contains(target)), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn check_prints_one_flat_object_a_line() {
    let bench = Bench::open().await;
    let output = bench.check(&["a@x.github.io", "lapsed.com", "--json"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let found = objects(&output);
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["name"], &found[0]["standing"], &found[0]["verdict"]), (&"github.io".into(), &"active".into(), &"allow".into()));
    assert_eq!(found[0]["reasons"], serde_json::json!([]));
    assert_eq!(found[0]["registered_at"], "2009-01-01T00:00:00Z");
    assert_eq!(found[0]["expires_at"], "2099-01-01T00:00:00Z");
    assert_eq!((&found[0]["source"], &found[0]["cached"], &found[0]["stale"]), (&"rdap".into(), &false.into(), &false.into()));
    assert_eq!((&found[1]["standing"], &found[1]["reasons"]), (&"redemption".into(), &serde_json::json!(["domain_redemption"])));

    let output = bench.check(&["example.com", "--json", "--verified-at", "2008-06-01T00:00:00Z"], &[]).await;
    assert_eq!(objects(&output)[0]["reasons"], serde_json::json!(["domain_reregistered"]));
    assert_eq!(bench.check(&["example.com", "--verified-at", "yesterday"], &[]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn check_says_2_where_nobody_can_tell() {
    let bench = Bench::open().await;
    bench.registry.fault(Fault::Status(503, None));
    let output = bench.check(&["example.com", "--json"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(objects(&output)[0]["standing"], "unknown");
    assert!(String::from_utf8_lossy(&output.stderr).contains("answered 503"));
    bench.configure("[policy]\non_unknown = \"allow\"\n");
    assert_eq!(bench.check(&["example.com"], &[]).await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_policy_is_read_from_file_and_environment() {
    let bench = Bench::open().await;
    let in_ten_days = time_from_now(Duration::from_secs(10 * 86_400));
    bench.registry.put("example.com", Phase::Until(in_ten_days));
    assert_eq!(bench.check(&["example.com"], &[]).await.status.code(), Some(0));
    assert_eq!(bench.check(&["example.com"], &[("GATEKEEPER__POLICY__EXPIRING_WITHIN", "14d")]).await.status.code(), Some(1));
    bench.configure("[policy]\nexpiring_within = \"14d\"\n");
    assert_eq!(bench.check(&["example.com"], &[]).await.status.code(), Some(1));
}

#[expect(clippy::disallowed_methods, reason = "the command that is run has no other clock than the machine's")]
fn time_from_now(duration: Duration) -> SystemTime {
    SystemTime::now() + duration
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_configuration_is_named_by_file_line_and_key() {
    let bench = Bench::open().await;
    for (more, said) in [
        ("[policy]\nexpiring_witin = \"7d\"", "gatekeeper.toml:3: `policy`: unknown field `expiring_witin`"),
        ("[policy]\nexpiring_witin = \"7d\"", "did you mean `expiring_within`?"),
        ("[policy]\nexpiring_within = \"soon\"", "gatekeeper.toml:3: `policy.expiring_within`: `soon`: it is no duration"),
        ("[policy]\nunverify = 1", "gatekeeper.toml:3: "),
        ("[polcy]", "did you mean `policy`?"),
        ("[policy]\n[policy]", "gatekeeper.toml:3: "),
        ("nonsense", "gatekeeper.toml:2: "),
    ] {
        bench.configure(more);
        let output = bench.check(&["example.com"], &[]).await;
        assert_eq!(output.status.code(), Some(2), "{more}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(said), "{error}");
        assert!(output.stdout.is_empty());
    }
    bench.configure("");
    let output = bench.check(&["example.com"], &[("GATEKEEPER__POLICY__UNVERIFYY", "true")]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("GATEKEEPER__POLICY__UNVERIFYY"));
    std::fs::remove_file(bench.config()).unwrap();
    assert_eq!(bench.check(&["example.com"], &[]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_servers_and_the_patience_of_a_configuration_are_kept() {
    let bench = Bench::open().await;
    let base = bench.registry.bootstrap_url().replace("dns.json", "");
    assert_eq!(bench.check(&["example.zz"], &[]).await.status.code(), Some(2));
    assert_eq!(bench.check(&["example.zz"], &[("GATEKEEPER__DOMAINS__RDAP__OVERRIDES__ZZ", &base)]).await.status.code(), Some(1));
    bench.registry.fault(Fault::Slow(Duration::from_millis(500)));
    assert_eq!(bench.check(&["example.com"], &[]).await.status.code(), Some(0));
    assert_eq!(bench.check(&["example.com"], &[("GATEKEEPER__DOMAINS__TIMEOUT", "50ms")]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sources_of_a_configuration_are_asked_side_by_side() {
    let bench = Bench::open().await;
    let dns = NameServer::start().await.unwrap();
    dns.delegate("example.com", ["ns.example.net"]);
    dns.delegate("refuses.com", ["ns.example.net"]);
    dns.mail("refuses.com", Mail::Refused);
    dns.delegate("example.zz", ["ns.example.net"]);
    bench.registry.register("refuses.com", time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    let resolver = dns.address().to_string();
    let asks = |sources| vec![("GATEKEEPER__DOMAINS__SOURCES", sources), ("GATEKEEPER__DOMAINS__DNS__RESOLVER", resolver.as_str())];

    let both = asks(r#"["rdap", "dns"]"#);
    for (target, exit, reasons) in [
        ("a@example.com", 0, serde_json::json!([])),
        ("a@refuses.com", 1, serde_json::json!(["domain_unresolvable"])),
        ("a@gone.example.com", 1, serde_json::json!(["domain_unresolvable"])),
        // Its registry has no service, so the DNS decides.
        ("a@example.zz", 0, serde_json::json!([])),
        ("a@gone.zz", 1, serde_json::json!(["domain_unregistered", "domain_unresolvable"])),
    ] {
        let output = bench.check(&[target, "--json"], &both).await;
        let found = objects(&output).remove(0);
        assert_eq!((output.status.code(), &found["reasons"]), (Some(exit), &reasons), "{target}: {output:?}");
        let said: Vec<_> = found["sources"].as_array().unwrap().iter().map(|told| told["source"].as_str().unwrap()).collect();
        assert_eq!(said, ["rdap", "dns"]);
    }
    dns.fault(DnsFault::ServFail);
    let output = bench.check(&["example.com", "--json"], &both).await;
    assert_eq!((output.status.code(), &objects(&output)[0]["notices"]), (Some(0), &serde_json::json!(["source_failed"])));
    assert!(String::from_utf8_lossy(&output.stderr).contains("dns could not tell"), "{output:?}");
    dns.fault(None);

    // The registries aren't to be asked, and nobody vouches for them.
    let alone = asks(r#"["dns"]"#);
    assert_eq!(bench.check(&["example.com"], &alone).await.status.code(), Some(2));
    assert_eq!(bench.check(&["example.zz"], &alone).await.status.code(), Some(0));
    // A source that needs a key says which variable is to have it.
    let output = bench.check(&["example.com"], &asks(r#"["fastly"]"#)).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("FASTLY_API_KEY: `domains.fastly.api_key_env`"), "{output:?}");
}
