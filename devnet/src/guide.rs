//! Where to look: what a person can type at a ledger that was just raised.

use crate::layout::{Devnet, FILE_NAME};
use crate::processes::program;
use crate::raise::SITE;

/// Lines for a shell that make every `countersign` command speak to the site's node.
#[must_use]
pub fn environment(devnet: &Devnet) -> Vec<String> {
    let mut lines = vec![
        format!("export COUNTERSIGN_CA={}", devnet.ca.display()),
        format!("export COUNTERSIGN_GENESIS={}", devnet.genesis.display()),
    ];
    if let Some(site) = devnet.node(SITE).or_else(|| devnet.nodes.first()) {
        lines.insert(0, format!("export COUNTERSIGN_NODE={}", site.grpc));
    }
    lines
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
