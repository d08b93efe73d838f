//! Help, usage, and programs beside this one.

use crate::hands::{Hands, install, set_mode};
use clap::CommandFactory as _;
use cli::options::CommandLine;
use std::path::Path;

/// Every command that does something, by its words.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    let mut program = CommandLine::command();
    program.build();
    let (mut commands, mut open) = (Vec::new(), vec![(Vec::new(), program)]);
    while let Some((words, command)) = open.pop() {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        let below: Vec<_> =
            below.map(|below| ([&words[..], &[below.get_name().to_owned()]].concat(), below.clone())).collect();
        match below.is_empty() {
            true => commands.push((words, command)),
            false => open.extend(below),
        }
    }
    assert!(commands.len() > 30, "{}", commands.len());
    commands
}

#[test]
fn every_command_can_answer_programs_and_says_with_what() {
    for (words, command) in commands() {
        let name = words.join(" ");
        assert!(command.get_arguments().any(|argument| argument.get_id() == "output"), "{name} has no -o");
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("JSON: {"), "{name} does not say what -o json gives: {help}");
    }
}

#[test]
fn the_first_help_is_as_written_down() {
    Hands::new().run(&["-h"]).is(0, include_str!("help.txt"), "");
    Hands::new().run(&[]).is(2, "", include_str!("help.txt"));
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let hands = Hands::new();
    for (words, _) in commands() {
        let name = words.join(" ");
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = hands.run(&words).done();
        assert!(help.stdout.contains(&format!("countersign {name} ")), "{name}: no example of itself: {}", help.stdout);
        assert!(help.stdout.contains("Example"), "{name}");
        assert!(help.stdout.contains("What an example leaves out of --node, --ca, --genesis and --key"), "{name}");
        for option in ["--node", "--ca", "--genesis", "--key", "--output", "COUNTERSIGN_NODE", "COUNTERSIGN_KEY"] {
            assert!(help.stdout.contains(option), "{name} does not tell of {option}");
        }
        // A usage line is for copying and is never wrapped.
        let mut lines =
            help.stdout.lines().filter(|line| !line.starts_with("Usage: ") && !line.starts_with("       countersign "));
        assert!(lines.all(|line| line.chars().count() <= 100), "{name}: a line is too long");
        assert_eq!(help.stderr, "");
    }
}

#[test]
fn wrong_usage_ends_with_two_and_says_what_is_missing() {
    let hands = Hands::new();
    for (arguments, says) in [
        (vec!["key", "new", "--role", "publisher"], "--organisation <NAME>"),
        (vec!["key", "new", "--role", "emperor", "--organisation", "acme", "--out", "x"], "invalid value 'emperor'"),
        (vec!["key", "new", "--role", "node", "--organisation", "A CME", "--out", "x"], "is not a name"),
        (vec!["approve"], "<PATCH>"),
        (vec!["approve", "xyz"], "expected 4 to 64 hexadecimal digits"),
        (vec!["approve", "abcd", "--offline"], "--out <FILE>"),
        (vec!["verify", "a", "--max-age", "soon"], "expected a number with its unit"),
        (vec!["verify", "a", "--at", "yesterday"], "RFC 3339"),
        (vec!["get", "patches", "--limit", "0"], "0 is not in"),
        (vec!["get", "patches", "-o", "yaml"], "invalid value 'yaml'"),
        (vec!["patch", "pack", "--product", "noslash"], "is not a product"),
        (vec!["init"], "--spec <FILE>"),
    ] {
        let ran = hands.run(&arguments);
        ran.fails(2, says);
    }
}

#[test]
fn what_a_command_needs_and_was_not_given_is_named_with_a_hint() {
    let hands = Hands::new();
    let roots = "what its certificate comes from, its ca.pem, with --ca FILE or COUNTERSIGN_CA";
    let node = "which node to ask with --node URL or COUNTERSIGN_NODE, for instance https://127.0.0.1:7101";
    let signing = "whose signature it is with --key FILE or COUNTERSIGN_KEY; which ledger it is about with --genesis FILE \
                   or COUNTERSIGN_GENESIS";
    // Everything at once, not one after the other.
    for (arguments, missing, hint) in [
        (&["status"][..], "no node and no root certificates", format!("{node}; {roots}")),
        (&["status", "--ca", "x"], "no node", node.to_owned()),
        (&["status", "--node", "https://127.0.0.1:1"], "no root certificates", roots.to_owned()),
        (
            &["approve", "abcd"],
            "no key, no trust root, no node and no root certificates",
            format!("{signing}; {node}; {roots}"),
        ),
        (&["approve", "abcd", "--offline", "--out", "x"], "no key and no trust root", signing.to_owned()),
        (
            &["chain", "epochs", "--node", "http://127.0.0.1:1"],
            "no trust root",
            "which ledger it is about with --genesis FILE or COUNTERSIGN_GENESIS".to_owned(),
        ),
    ] {
        hands.run(arguments).is(2, "", &format!("error: {missing} given\nhint: say {hint}\n"));
    }
    hands.run(&["verify", "x.proof"]).is(
        2,
        "",
        "error: no trust root given\nhint: say which ledger you trust with --trust GENESIS\n",
    );
    hands.run(&["status", "--node", "http://node.example:7101"]).fails(2, "plain http is for this machine itself only");
    hands.run(&["status", "--node", "ftp://127.0.0.1"]).fails(2, "neither https nor http");
    hands.run(&["status", "--node", "http://127.0.0.1:1"]).fails(2, "cannot reach the node at http://127.0.0.1:1");
}

#[test]
fn with_json_an_error_is_json_where_the_answer_would_be() {
    let hands = Hands::new().with("COUNTERSIGN_NODE", "http://127.0.0.1:1");
    hands.write("nothing", "");
    for (arguments, code, says, because) in [
        // Not read by clap.
        (&["get", "patches", "--limit", "0", "-o", "json"][..], "usage", "invalid value '0' for '--limit <N>'", 0),
        (&["approve", "-ojson"], "usage", "the following required arguments were not provided: <PATCH>", 0),
        // Not asked.
        (&["approve", "abcd", "--output=json"], "usage", "no key and no trust root given", 0),
        (&["verify", "p", "--trust", "absent", "-o", "json"], "trust-root", "cannot read trust root absent", 1),
        (&["verify", "p", "--trust", "nothing", "-o", "json"], "trust-root", "nothing is no trust root", 1),
        (&["key", "show", "absent", "-o", "json"], "key-file", "cannot read key file absent", 1),
        (&["-o", "json", "fnord"], "usage", "\"fnord\" is not a countersign command", 0),
        (&["fnord", "-o", "json"], "usage", "\"fnord\" is not a countersign command", 0),
        (&["chain", "fnord", "-o", "json"], "usage", "unrecognized subcommand 'fnord'", 0),
        (&["status", "--fnord", "-o", "json"], "usage", "unexpected argument '--fnord'", 0),
        (&["status", "-o", "json"], "unreachable", "cannot reach the node at http://127.0.0.1:1", 1),
    ] {
        let ran = hands.run(arguments);
        let error = ran.json()["error"].clone();
        assert_eq!((ran.code, error["code"].as_str()), (2, Some(code)), "{arguments:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(says), "{arguments:?}: {message}");
        assert!(error["because"].as_array().unwrap().len() >= because, "{arguments:?}: {error}");
        assert!(error["hint"].is_string(), "{arguments:?}: {error}");
        // People are told as ever.
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

#[test]
fn with_json_a_command_that_is_not_given_is_an_error_and_no_help() {
    for arguments in [&["-o", "json"][..], &["get", "-o", "json"]] {
        let ran = Hands::new().run(arguments);
        let error = &ran.json()["error"];
        assert_eq!((ran.code, &error["code"], &error["message"]), (2, &"usage".into(), &"no command given".into()));
        assert!(ran.stderr.contains("Usage: countersign") || ran.stderr.contains("subcommands: "), "{}", ran.stderr);
    }
}

#[test]
fn usage_says_each_way_in_which_a_command_can_be_written() {
    let hands = Hands::new();
    for (command, usage) in [
        (
            "init",
            "countersign init [OPTIONS] --spec <FILE> --out <FILE>\n       countersign init [OPTIONS] --example\n",
        ),
        ("propose", "countersign propose [OPTIONS] <FILE>\n       countersign propose --example\n"),
    ] {
        let help = hands.run(&[command, "--help"]).done().stdout;
        assert!(help.contains(&format!("Usage: {usage}")), "{help}");
    }
}

#[test]
fn an_unknown_word_runs_the_program_of_that_name_from_path() {
    let hands = Hands::new();
    let program =
        hands.write("hello", "#!/bin/sh\necho \"$1 $2 $COUNTERSIGN_NODE $COUNTERSIGN_KEY\"\necho oops >&2\nexit 7\n");
    install(&program, &hands.path("bin/countersign-hello"));
    let line = ["--node", "https://a:1", "--key", "k", "hello", "--world", "x y"];
    hands.run(&line).is(7, "--world x y https://a:1 k\n", "oops\n");
}

#[test]
fn a_program_beside_this_one_goes_before_one_on_path() {
    let hands = Hands::new();
    install(&hands.write("path", "#!/bin/sh\necho path\n"), &hands.path("bin/countersign-hello"));
    install(&hands.write("beside", "#!/bin/sh\necho beside\n"), &hands.path("here/countersign-hello"));
    let own = hands.path("here/countersign");
    install(Path::new(env!("CARGO_BIN_EXE_countersign")), &own);
    hands.run_program(&own, &["hello"]).is(0, "beside\n", "");
}

#[test]
fn an_unknown_word_without_a_program_is_a_usage_error() {
    let hands = Hands::new();
    let error = |word: &str| {
        format!(
            "error: \"{word}\" is not a countersign command, and there is no program countersign-{word} beside it or on \
             PATH\nhint: `countersign --help` lists the commands\n"
        )
    };
    hands.run(&["fnord"]).is(2, "", &error("fnord"));
    // A word, not a path: nothing is run from anywhere else.
    set_mode(&hands.write("countersign-", "#!/bin/sh\necho ran\n"), 0o755);
    hands.write("bin/countersign-../x", "");
    hands.run(&["../x"]).is(2, "", &error("../x"));
}

#[test]
fn chain_fsck_runs_the_node_program_and_ends_with_its_code() {
    let hands = Hands::new();
    let fsck = ["chain", "fsck", "--store", "data"];
    // A copy, because the node program may well stand beside the original.
    let own = hands.path("countersign");
    install(Path::new(env!("CARGO_BIN_EXE_countersign")), &own);
    hands.run_program(&own, &fsck).is(
        2,
        "",
        "error: cannot run countersign-node\n  because: No such file or directory (os error 2)\n\
         hint: install countersign-node beside countersign or on PATH\n",
    );
    let program = "#!/bin/sh\necho \"$@\"\necho 'block 7: altered' >&2\nexit 1\n";
    set_mode(&hands.write("bin/countersign-node", program), 0o755);
    hands.run_program(&own, &fsck).is(1, "fsck --dir data\n", "block 7: altered\n");
    let for_programs = [&fsck[..], &["-o", "json"]].concat();
    hands.run_program(&own, &for_programs).is(1, "fsck --dir data -o json\n", "block 7: altered\n");
}
