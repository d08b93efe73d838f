//! What is signed is named by its signer: in full, or by a yes to what is shown.
//!
//! A node completes the beginning of an id. One that lies can have made a patch or a proposal that begins
//! the same, so a beginning alone is not enough to sign by.

use crate::failure::Failure;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Bytes of an answer that are read; a yes is shorter.
const ANSWER_BYTES_MAX: u64 = 16;

/// Takes the full name of what was shown as consent to sign it; after a beginning only, asks.
///
/// # Errors
/// A usage error when only the beginning was typed and nobody at a terminal says yes.
pub(super) fn consent(named: &str, shown: &impl ToString) -> Result<(), Failure> {
    if named.eq_ignore_ascii_case(&shown.to_string()) || (attended() && says_yes()) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("{named} is not a whole id, and nobody said yes to what it was completed to"),
        "look at what is shown above; to sign it without being asked, give all 64 digits",
    ))
}

fn attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whatever is not a yes is a no, a closed terminal too.
fn says_yes() -> bool {
    let mut answer = String::new();
    let asked = write!(io::stderr(), "Sign this? [y/N] ").and_then(|()| io::stderr().flush());
    let read = asked.and_then(|()| io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer));
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
