use std::fs;

use pactum_coordinator::{AttachmentOptions, EngineOptions, SessionOptions};
use pactum_core::policy::Policy;
use pactum_core::retry::RetryPolicy;
use tempfile::TempDir;

use super::*;

/// A file of its own, gone with the test.
struct File {
    _directory: TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pactum.toml");
    fs::write(&path, text).unwrap();
    File { _directory: directory, path }
}

fn flag(option: &str, value: &str) -> Flag {
    let flag = format!("--set {option}");
    Flag { flag, option: option.to_owned(), value: value.to_owned() }
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn load_text(text: &str) -> Result<Config, Problems> {
    let file = file(text);
    Config::load(&Inputs { file: Some(file.path), ..Inputs::default() }, Purpose::Print)
}

/// The one problem of a file, with its path taken out.
#[track_caller]
fn check_problem(text: &str, expected: &str) {
    let file = file(text);
    let inputs = Inputs { file: Some(file.path.clone()), ..Inputs::default() };
    let problems = Config::load(&inputs, Purpose::Print).unwrap_err().0;
    let told: Vec<_> = problems
        .iter()
        .map(|problem| problem.replace(&file.path.display().to_string(), "FILE"))
        .collect();
    assert_eq!(told, [expected], "{text}");
}

/// A file, and the one problem that it has.
const BAD_FILES: [(&str, &str); 16] = [
    (
        "listen = \"localhost\"",
        "`listen` is `localhost` in FILE: write an IP address and a port: `127.0.0.1:8091`, or \
         port 0 for any free one",
    ),
    (
        "group = \"Default\"",
        "`group` is `Default` in FILE: a group name is 1 to 24 characters of a-z, 0-9 and `-`",
    ),
    (
        "data_dir = \"\"",
        "`data_dir` is `` in FILE: give a directory; it is created if it is not there",
    ),
    (
        "drain_max = 10",
        "`drain_max` is `10` in FILE: write a time with its unit: `500ms`, `10s`, `5m`, `24h`",
    ),
    (
        "drain_max = \"-1s\"",
        "`drain_max` is `-1s` in FILE: write a time with its unit: `500ms`, `10s`, `5m`, `24h`",
    ),
    (
        "transaction_timeout_max = \"0s\"",
        "`transaction_timeout_max` is `0s` in FILE: give a time from 1s to 1day",
    ),
    (
        "message_bytes_max = \"1 MB\"",
        "`message_bytes_max` is `1 MB` in FILE: write a number of bytes: `65536`, `64KiB`, `4MiB`",
    ),
    (
        "message_bytes_max = \"1GiB\"",
        "`message_bytes_max` is `1GiB` in FILE: give a size from 64KiB to 64MiB",
    ),
    (
        "phase_one_assumed_allowed = \"yes\"",
        "`phase_one_assumed_allowed` is `yes` in FILE: write `true` or `false`",
    ),
    (
        "[policy]\nbranches_per_transaction_max = 0",
        "`policy.branches_per_transaction_max` is `0` in FILE: give a whole number from 1 to 100000",
    ),
    (
        "[policy]\novertaken_max = 1.5",
        "`policy.overtaken_max` in FILE: write a text, a whole number, or true or false",
    ),
    (
        "[log]\nfilter = \"a=b=c\"",
        "`log.filter` is `a=b=c` in FILE: write a level or levels by target: `info`, \
         `info,pactum_coordinator=debug`",
    ),
    ("[log]\nformat = \"xml\"", "`log.format` is `xml` in FILE: write `full`, `compact` or `json`"),
    (
        "[policy]\nlock_wait_mx = \"1s\"",
        "`policy.lock_wait_mx` in FILE is not an option; did you mean `policy.lock_wait_max`?",
    ),
    ("datadir = \"d\"", "`datadir` in FILE is not an option; did you mean `data_dir`?"),
    (
        "[session]\nheartbeat = \"20s\"",
        "`session.silence_max`: must be longer than `session.heartbeat`, and that above zero",
    ),
];

#[test]
fn each_bad_value_says_where_it_is_and_how_to_mend_it() {
    for (text, expected) in BAD_FILES {
        check_problem(text, expected);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let file = file("listen = 1\n[policy]\nwaiters = 3");
    let inputs = Inputs {
        file: Some(file.path),
        environment: vec![variable("PACTUM_LISTN", "127.0.0.1:1")],
        flags: vec![flag("drain_max", "soon")],
    };
    let problems = Config::load(&inputs, Purpose::Print).unwrap_err();
    assert_eq!(problems.0.len(), 4, "{problems}");
    let text = problems.to_string();
    assert!(text.starts_with("the configuration has 4 problems\n  - `listen`"), "{text}");
    assert!(text.contains("PACTUM_LISTN is not an option; did you mean PACTUM_LISTEN?"), "{text}");
    assert!(text.contains("`drain_max` is `soon` in --set drain_max"), "{text}");
}

#[test]
fn a_bad_value_is_told_even_where_a_later_one_replaces_it() {
    let file = file("drain_max = \"soon\"");
    let flags = vec![flag("drain_max", "5s")];
    let inputs = Inputs { file: Some(file.path), flags, ..Inputs::default() };
    assert_eq!(Config::load(&inputs, Purpose::Print).unwrap_err().0.len(), 1);
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_named() {
    let inputs = Inputs { file: Some("/nowhere/pactum.toml".into()), ..Inputs::default() };
    let problems = Config::load(&inputs, Purpose::Print).unwrap_err().to_string();
    assert!(problems.contains("read `/nowhere/pactum.toml`"), "{problems}");
    let problems = load_text("listen = ").unwrap_err().to_string();
    assert!(problems.contains("pactum.toml` is not TOML"), "{problems}");
}

#[test]
fn the_file_beats_the_default_the_environment_the_file_and_a_flag_everything() {
    let file =
        file("drain_max = \"1s\"\n[policy]\nlock_wait_max = \"2s\"\nclaim_wait_max = \"3s\"");
    let variables = [
        ("PACTUM_POLICY_LOCK_WAIT_MAX", "20s"),
        ("PACTUM_POLICY_CLAIM_WAIT_MAX", "30s"),
        ("PACTUM_SERVER", "http://elsewhere:1"),
        ("PACTUM_SOMETHING_ELSE_ALTOGETHER", "1"),
        ("PATH", "/bin"),
    ];
    let inputs = Inputs {
        file: Some(file.path),
        environment: variables.map(|(name, value)| variable(name, value)).into(),
        flags: vec![flag("policy.claim_wait_max", "300s")],
    };
    let config = Config::load(&inputs, Purpose::Print).unwrap();
    let seconds = |time: std::time::Duration| time.as_secs();
    assert_eq!(seconds(config.server.drain_max), 1);
    assert_eq!(seconds(config.server.policy.lock_wait_max), 20);
    assert_eq!(seconds(config.server.policy.claim_wait_max), 300);
    assert_eq!(seconds(config.server.policy.claim_keep_max), 5);
}

#[test]
fn what_is_printed_reads_back_as_the_same_and_says_where_it_came_from() {
    let file = file("data_dir = \"/var/lib/it's here\"\nmessage_bytes_max = 100_000");
    let inputs = Inputs {
        file: Some(file.path.clone()),
        environment: vec![variable("PACTUM_POLICY_WAITERS_MAX", "12")],
        flags: vec![flag("log.format", "json")],
    };
    let printed = Config::load(&inputs, Purpose::Print).unwrap().print();
    let line = |start: &str| printed.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(line("waiters_max = 12 ").ends_with("# PACTUM_POLICY_WAITERS_MAX"), "{printed}");
    assert!(line("format = \"json\"").ends_with("# --set log.format"), "{printed}");
    assert!(line("message_bytes_max = \"100000\"").ends_with(&file.path.display().to_string()));
    assert!(line("listen = \"127.0.0.1:8091\"").ends_with("# default"), "{printed}");
    let without_sources = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    let again = load_text(&printed).unwrap().print();
    assert_eq!(without_sources(&again), without_sources(&printed));
}

#[test]
fn a_directory_must_be_given() {
    let problems = Config::load(&Inputs::default(), Purpose::Serve).unwrap_err().to_string();
    assert!(problems.contains("--data-dir DIR"), "{problems}");
    let printed = Config::load(&Inputs::default(), Purpose::Print).unwrap().print();
    assert!(printed.contains("# data_dir = \"\""), "{printed}");
    let flags = vec![flag("data_dir", "here")];
    let inputs = Inputs { flags, ..Inputs::default() };
    assert!(Config::load(&inputs, Purpose::Serve).is_ok());
}

/// Each option stands in the page with its default; what the page names is an option.
#[test]
fn the_page_and_the_table_of_options_are_the_same() {
    let page = include_str!("../../../docs/configuration.md");
    let config = Config::default();
    let expected: Vec<_> = OPTIONS
        .iter()
        .filter(|option| option.name != "data_dir")
        .map(|option| {
            format!("| `{}` | `{}` |", option.name, (option.show)(&config).replace('"', ""))
        })
        .collect();
    for row in &expected {
        assert!(page.contains(row), "docs/configuration.md has no row that begins with {row}");
    }
    // What follows is set in a service's code.
    let (page, _) = page.split_once("\n## AT options").expect("the page has that section");
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, OPTIONS.len(), "a row for each option, and no other");
}

/// The patterns name every field: a new one does not compile until it is an option here too.
#[test]
fn every_field_of_the_coordinators_options_can_be_set() {
    let Config { data_dir: _, server, log: LogOptions { filter: _, format: _ }, sources: _ } =
        Config::default();
    let ServerOptions {
        listen: _,
        group: _,
        policy,
        transaction_timeout_max: _,
        phase_one_assumed_allowed: _,
        message_bytes_max: _,
        drain_max: _,
        engine,
        session,
        attachment,
    } = server;
    let Policy {
        phase_one_wait_max: _,
        completion_wait: _,
        node_lost_grace: _,
        lock_wait_max: _,
        claim_wait_max: _,
        claim_keep_max: _,
        overtaken_max: _,
        phase_two_retry: RetryPolicy { first: _, cap: _ },
        history_keep: _,
        history_rows_max: _,
        branches_per_transaction_max: _,
        locks_per_branch_max: _,
        active_transactions_max: _,
        waiters_max: _,
        branch_id_block: _,
        xid_block: _,
        definitions_max: _,
        saga_wait_max: _,
        attempt_grace: _,
    } = policy;
    let EngineOptions {
        queue_batches_max: _,
        begins_queued_max: _,
        batch_events_max: _,
        xids_reserved: _,
        branch_ids_reserved: _,
    } = engine;
    let SessionOptions {
        request_window: _,
        heartbeat: _,
        silence_max: _,
        answers_queued_max: _,
        work_queued_max: _,
        frames_per_message_max: _,
    } = session;
    let AttachmentOptions { expires_in: _, take_wait_max: _, take_max: _, attachments_max: _ } =
        attachment;
    // Directory and log; top, policy, engine, session, attachment.
    assert_eq!(OPTIONS.len(), 3 + 6 + 20 + 5 + 6 + 4);
}

#[test]
fn no_two_options_share_a_variable() {
    let mut variables: Vec<_> = OPTIONS.iter().map(OptionSpec::variable).collect();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), OPTIONS.len());
}
