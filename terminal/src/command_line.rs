//! Command lines that could not be read.

use crate::{EXIT_DONE, EXIT_USAGE, ErrorView};
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::process::ExitCode;

/// The variable of the environment that says how answers are written where no option does; programs that run others of
/// the house hand it on.
pub const OUTPUT_VARIABLE: &str = "COUNTERSIGN_OUTPUT";

/// Whether a command line asks for JSON, as far as that can be told of one that was not read.
#[must_use]
pub fn asks_for_json(words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let is_option = |word: &&str| word.starts_with("-o") || word.starts_with("--output");
    words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
        || !words.iter().any(is_option) && std::env::var_os(OUTPUT_VARIABLE).is_some_and(|format| format == "json")
}

/// Says what clap says of a command line it does not take: help and version are answers, everything else an error, to
/// programs too. `program` is its name.
#[must_use]
pub fn not_read(error: &clap::Error, words: &[OsString], program: &str) -> ExitCode {
    // A reader that went away is nobody to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::from(EXIT_DONE);
    }
    let view = ErrorView::not_read(error, program);
    // Where no command was given, the help was.
    if !matches!(error.kind(), ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        view.tell_hint();
    }
    if asks_for_json(words) {
        view.tell_programs();
    }
    ExitCode::from(EXIT_USAGE)
}

/// Commands of a program that give programs no answer: they take no `--output`, or the help of the program does not say
/// in backquotes what they give. For tests; there should be none.
#[must_use]
pub fn mute_commands(mut program: clap::Command) -> Vec<String> {
    program.build();
    let help = program.get_after_help().map(ToString::to_string).unwrap_or_default();
    let is_mute = |command: &&clap::Command| {
        let takes_it = command.get_arguments().any(|argument| argument.get_id() == "output");
        !takes_it || !help.contains(&format!("`{}", command.get_name()))
    };
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help");
    commands.filter(is_mute).map(|command| command.get_name().to_owned()).collect()
}
