//! What the guide names must exist.

use std::path::{Path, PathBuf};

fn of_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(of_repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks in `text`, line by line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// `file::name` for a test in the folder of this file.
fn is_test(text: &str) -> bool {
    text.contains("::") && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_:".contains(&byte))
}

#[test]
fn every_promise_of_the_threat_model_has_tests_and_each_exists() {
    let text = read("src/guide/threats.md");
    let promises = text.split("# What is promised").nth(1).unwrap().split("# What is not promised").next().unwrap();
    for promise in promises.split("\n\n").map(str::trim).filter(|promise| !promise.is_empty()) {
        let tests: Vec<_> = quoted(promise).filter(|text| is_test(text)).collect();
        assert!(!tests.is_empty(), "without a test: {promise}");
        for test in tests {
            let (file, name) = test.rsplit_once("::").unwrap();
            let source = read(&format!("tests/it/{}.rs", file.replace("::", "/")));
            assert!(source.contains(&format!("fn {name}(")), "{test} is no test");
        }
    }
}
