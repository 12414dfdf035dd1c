//! Man pages and shell completions, the latter read by the program that they are for.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn gatekeeper(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper")).args(arguments).output().unwrap()
}

#[test]
fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    // One that is made.
    let pages = folder.path().join("man/man1");
    let output = gatekeeper(&["generate", "man", pages.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    for (name, tells) in [
        ("reset-gatekeeper", "reset\\-gatekeeper\\-audit(1)"),
        ("reset-gatekeeper-audit", "reset\\-gatekeeper\\-audit\\-verify(1)"),
        ("reset-gatekeeper-audit-verify", "\\-\\-archived"),
        ("reset-gatekeeper-exempt-add", "\\-\\-reason"),
        ("reset-gatekeeper-serve", "\\-\\-upstream"),
    ] {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        assert!(page.contains(tells), "{name} tells of {tells}: {page}");
    }
    let file = pages.join("reset-gatekeeper.1");
    let output = gatekeeper(&["generate", "man", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "a file is no folder");
    assert!(String::from_utf8_lossy(&output.stderr).contains("reset-gatekeeper.1"), "{output:?}");
}

#[test]
fn bash_completes_the_arguments() {
    let script = gatekeeper(&["generate", "completions", "bash"]);
    assert!(script.status.success(), "{script:?}");
    // What bash does when tab is pressed after these words.
    let tab = r#"
        COMP_WORDS=(reset-gatekeeper audit v); COMP_CWORD=2
        function=$(complete -p reset-gatekeeper | sed 's/.*-F \([^ ]*\) .*/\1/')
        $function reset-gatekeeper v audit
        echo "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash").args(["--norc", "--noprofile"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(&[script.stdout.as_slice(), tab.as_bytes()].concat()).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "verify");
}
