//! The proof over many files, and the log read back, as the command gives them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reset_gatekeeper::audit::{AuditSink, Head, JsonLines, Verifier, VerifyError, segments};

use crate::audit_files::{Place, keep};

fn audit(arguments: &[&str], files: &[PathBuf]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper")).arg("audit").args(arguments).args(files).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A log of 40 records in many files, whose newest is `audit.jsonl`.
async fn rotated(place: &Place) -> Vec<PathBuf> {
    let log = place.log().rotate_at(2_000).open().await.unwrap();
    keep(&log, 40).await;
    segments(&place.file()).unwrap()
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from));
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn a_log_is_proven_with_its_rotated_files_in_whatever_order_they_are_named() {
    let place = Place::new();
    let files = rotated(&place).await;
    let output = audit(&["verify"], &[place.file()]);
    assert_eq!(output.status.code(), Some(0));
    let expected = format!("audit.jsonl and {} files before it: intact, 40 records\n", files.len() - 1);
    assert!(said(&output).ends_with(&expected), "{}", said(&output));

    // Elsewhere, by other names, and the newest twice.
    let moved: Vec<_> = files.iter().enumerate().map(|(at, _)| place.path(&format!("z{}", 99 - at))).collect();
    files.iter().zip(&moved).for_each(|(from, to)| std::fs::rename(from, to).unwrap());
    let named: Vec<_> = moved.iter().rev().chain(moved.last()).cloned().collect();
    let output = audit(&["verify"], &named);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("intact, 40 records\n"));
}

#[tokio::test]
async fn the_first_bad_line_is_named_with_its_file() {
    let place = Place::new();
    let files = rotated(&place).await;
    replace(&files[3], "a@example.com", "b@example.com");
    replace(&files[5], "a@example.com", "b@example.com");
    let output = audit(&["verify"], &[place.file()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("reset-gatekeeper: {}:1: its hash does not fit its content\n", files[3].display());
    assert!(said(&output).starts_with(&expected), "{}", said(&output));

    std::fs::remove_file(&files[3]).unwrap();
    let output = audit(&["verify"], &[place.file()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("{}:1: the records before it are missing", files[4].display())), "{}", said(&output));
}

#[tokio::test]
async fn files_that_are_kept_elsewhere_may_be_missing_at_the_beginning_alone() {
    let place = Place::new();
    let files = rotated(&place).await;
    std::fs::remove_file(&files[0]).unwrap();
    assert_eq!(audit(&["verify"], &[place.file()]).status.code(), Some(1));
    let output = audit(&["verify", "--archived"], &[place.file()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains(" records from number "), "{}", said(&output));
    std::fs::remove_file(&files[4]).unwrap();
    let output = audit(&["verify", "--archived"], &[place.file()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("{}:1: ", files[5].display())), "{}", said(&output));
}

#[tokio::test]
async fn logs_that_are_proven_together_stay_apart() {
    let (place, other) = (Place::new(), Place::new());
    rotated(&place).await;
    keep(&JsonLines::open(other.file()).await.unwrap(), 7).await;
    let output = audit(&["verify"], &[place.file(), other.file(), other.path("none")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("intact, 40 records\n") && said(&output).contains("audit.jsonl: intact, 7 records\n"),
        "{}",
        said(&output)
    );
    // A new chain in the place of a log is no other log.
    std::fs::copy(other.file(), place.file()).unwrap();
    assert_eq!(audit(&["verify"], &[place.file()]).status.code(), Some(1));
}

/// What comes before and after it is told, whichever it is, and a bad line besides.
#[tokio::test]
async fn a_file_that_cannot_be_read_hides_no_other() {
    let place = Place::new();
    let files = rotated(&place).await;
    let (last, newest) = (files.len() - 1, place.file());
    let first = |file: &Path| file.to_str().unwrap().rsplit_once('.').unwrap().1.parse::<u64>().unwrap();
    let before = first(&files[3]) - 1;
    // A folder is no file, to root neither.
    std::fs::rename(&files[3], place.path("away")).unwrap();
    std::fs::create_dir(&files[3]).unwrap();
    let unreadable = format!("{} can't be read", files[3].display());
    let intact = [
        format!("{} and 2 files before it: intact, {before} records\n", files[2].display()),
        format!("and {} files before it: intact, {} records from number {} on\n", last - 4, 41 - first(&files[4]), first(&files[4])),
    ];
    for named in [vec![newest.clone()], files.iter().rev().cloned().collect()] {
        let output = audit(&["verify"], &named);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(&unreadable) && intact.iter().all(|told| said(&output).contains(told)), "{}", said(&output));
    }
    std::fs::remove_file(&newest).unwrap();
    std::os::unix::fs::symlink(&newest, &newest).unwrap();
    let output = audit(&["verify"], &[place.file()]);
    assert_eq!(output.status.code(), Some(2));
    for told in [&unreadable, &format!("{} can't be read", newest.display()), &intact[0], &format!("{} and ", files[last - 1].display())] {
        assert!(said(&output).contains(told), "{told}: {}", said(&output));
    }
    replace(&files[5], "a@example.com", "b@example.com");
    let output = audit(&["verify"], &[newest]);
    assert_eq!(output.status.code(), Some(2));
    let bad = format!("{}:1: its hash does not fit its content\n", files[5].display());
    assert!(said(&output).contains(&unreadable) && said(&output).contains(&bad), "{}", said(&output));
}

/// What a state keeps of the end is proven of the right file.
#[tokio::test]
async fn the_end_that_was_kept_must_be_there() {
    let place = Place::new();
    let files = rotated(&place).await;
    let log = place.log().open().await.unwrap();
    let head = log.heads().borrow().clone();
    let outcome = |kept: &Head| Verifier::new().kept(place.file(), kept.clone()).verify(&[place.file()]).remove(0);
    assert!(outcome(&head).unwrap().is_end_known);
    assert!(matches!(outcome(&Head::new(41, head.hash.clone())), Err(VerifyError::Broken { line, .. }) if line > 1));
    assert!(
        matches!(outcome(&Head::new(2, head.hash.clone())), Err(VerifyError::Broken { file, line: 2, .. }) if Path::new(&file) == files[0])
    );
    std::fs::remove_file(place.file()).unwrap();
    assert!(matches!(outcome(&head), Err(VerifyError::Broken { file, .. }) if Path::new(&file) == files[files.len() - 2]));
}

/// More than is looked through at a time.
#[tokio::test]
async fn a_long_log_is_proven_to_its_last_line() {
    let place = Place::new();
    let log = place.log().open().await.unwrap();
    for _ in 0..6 {
        log.record(vec![crate::audit_files::record(std::time::SystemTime::UNIX_EPOCH); 1_000]).await.unwrap();
    }
    assert_eq!(reset_gatekeeper::audit::verify(place.file()).unwrap(), 6_000);
    let whole = std::fs::read_to_string(place.file()).unwrap();
    assert!(whole.len() > 2 << 20);
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for bad in [1, 2, 3_000, 4_567, 5_999, 6_000] {
        let mut altered = lines.clone();
        let line = altered[bad - 1].replacen("a@", "b@", 1);
        altered[bad - 1] = &line;
        std::fs::write(place.file(), altered.concat()).unwrap();
        let found = reset_gatekeeper::audit::verify(place.file());
        assert!(matches!(found, Err(VerifyError::Broken { line, .. }) if line == bad as u64), "{bad}: {found:?}");
        altered.remove(bad - 1);
        std::fs::write(place.file(), altered.concat()).unwrap();
        let found = reset_gatekeeper::audit::verify(place.file());
        assert!(bad == 6_000 || matches!(found, Err(VerifyError::Broken { line, .. }) if line == bad as u64), "{bad}: {found:?}");
    }
}

/// Over all files, a record a line, without colour where nobody sees it.
#[tokio::test]
async fn the_whole_log_is_shown_and_filtered() {
    let place = Place::new();
    let files = rotated(&place).await;
    let show = |arguments: &[&str]| {
        let output = audit(&[&["show"], arguments].concat(), &[place.file()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = show(&[]);
    assert_eq!(all.lines().count(), 40);
    assert!(!all.contains('\x1b') && all.lines().all(|line| line.contains("  reset_blocked     a@example.com  ")), "{all}");
    assert_eq!(show(&["--json"]), files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<String>());
    for (filter, count) in [
        (["--event", "reset_blocked"], 40),
        (["--event", "reset_allowed"], 0),
        (["--reason", "email_unverified"], 40),
        (["--reason", "domain_expired"], 0),
        (["--reference", "019B0000-0000-7000-8000-000000000000"], 40),
        (["--reference", "019b0000-0000-7000-8000-000000000001"], 0),
        (["--until", "2026-01-31T12:00:00Z"], 0),
        (["--until", "2026-01-31T12:00:01Z"], 40),
        (["--since", "2026-01-31T12:00:00Z"], 40),
    ] {
        assert_eq!(show(&filter).lines().count(), count, "{filter:?}");
    }
    for (filter, known) in [(["--event", "blocked"], "reset_blocked"), (["--reason", "lapsed"], "domain_redemption")] {
        let output = audit(&[&["show"], &filter[..]].concat(), &[place.file()]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{filter:?}: {told}");
        assert!(told.contains(filter[1]) && told.contains(known), "what there is instead is named: {told}");
    }
}
