//! Where to look: what a person can type at a ledger that was just raised.

use crate::layout::{Devnet, FILE_NAME};
use crate::processes::program;
use crate::raise::SITE;

/// What makes every `countersign` command speak to the site's node, in its environment.
#[must_use]
pub fn variables(devnet: &Devnet) -> Vec<(&'static str, String)> {
    let site = devnet.node(SITE).or_else(|| devnet.nodes.first());
    let mut variables: Vec<_> = site.map(|site| ("COUNTERSIGN_NODE", site.grpc.clone())).into_iter().collect();
    variables.push(("COUNTERSIGN_CA", devnet.ca.display().to_string()));
    variables.push(("COUNTERSIGN_GENESIS", devnet.genesis.display().to_string()));
    variables
}

/// The same as lines for a shell.
#[must_use]
pub fn environment(devnet: &Devnet) -> Vec<String> {
    variables(devnet).iter().map(|(name, value)| format!("export {name}={}", quoted(value))).collect()
}

/// A word for a shell, in quotes where it needs them.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-:@%+=,".contains(letter);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// What runs, how to look around in it and how to end it. Programs by their full names: nobody needs to have
/// installed them.
#[must_use]
pub fn guide(devnet: &Devnet) -> Vec<String> {
    let (countersign, own) = (program("countersign"), program("countersign-devnet"));
    let (countersign, own, dir) = (countersign.display(), own.display(), devnet.dir.display());
    let mut lines = vec![format!("running: {}", devnet.dir.join(FILE_NAME).display()), String::new()];
    lines.push("look around:".to_owned());
    lines.extend(environment(devnet).into_iter().map(|line| format!("  {line}")));
    for command in ["status", "patch list", "get receipts", "get endpoints"] {
        lines.push(format!("  {countersign} {command}"));
    }
    lines.push(format!("keys to sign with: {dir}/keys"));
    lines.push(format!("end it:            {own} down --dir {dir}"));
    lines
}
