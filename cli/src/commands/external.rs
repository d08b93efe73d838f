//! `countersign X` runs `countersign-X`, beside this program or on PATH.

use crate::failure::Failure;
use crate::options::Global;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use terminal::{Answer, Format, OUTPUT_VARIABLE};

/// Runs the program a strange word means; it takes our place, its exit code is ours.
pub(super) fn run(global: &Global, words: &[OsString]) -> Result<Answer, Failure> {
    let (word, arguments) = words.split_first().expect("clap gives an external command its word");
    let name = word.to_string_lossy().into_owned();
    // A word, not a path: `countersign ../x` must not leave the places programs are looked for.
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let program = format!("countersign-{name}");
    let unknown = || Failure::UnknownCommand { command: name.clone(), program: program.clone() };
    if !plain || name.is_empty() {
        return Err(unknown());
    }
    let source = replace(global, &program, arguments.iter().cloned());
    if source.kind() == io::ErrorKind::NotFound { Err(unknown()) } else { Err(Failure::Program { program, source }) }
}

/// Runs a program of the house in our place. Returns only when it could not be run.
pub(super) fn replace(global: &Global, program: &str, arguments: impl IntoIterator<Item = OsString>) -> io::Error {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(program)).filter(|path| path.is_file());
    let mut command = Command::new(beside.unwrap_or_else(|| program.into()));
    command.args(arguments);
    let options = [
        ("COUNTERSIGN_NODE", global.node.clone().map(OsString::from)),
        ("COUNTERSIGN_CA", global.ca.clone().map(OsString::from)),
        ("COUNTERSIGN_GENESIS", global.genesis.clone().map(OsString::from)),
        ("COUNTERSIGN_KEY", global.key.clone().map(OsString::from)),
        ("COUNTERSIGN_PASSPHRASE_FILE", global.passphrase_file.clone().map(OsString::from)),
        (OUTPUT_VARIABLE, (global.output == Format::Json).then(|| "json".into())),
    ];
    command.envs(options.into_iter().filter_map(|(name, value)| Some((name, value?))));
    command.exec()
}
