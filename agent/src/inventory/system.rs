//! What runs the host: os-release, and what the kernel says of itself.

use super::fact;
use crate::files::{self, FileError};
use ledger::inventory::System;
use std::collections::BTreeMap;
use std::path::Path;

/// Where a system says what it is, beneath the root; the first there is.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// Largest such file.
const OS_RELEASE_BYTES_MAX: usize = 64 * 1024;

pub(super) fn look(root: &Path) -> Result<System, FileError> {
    let mut said = None;
    for path in OS_RELEASE {
        if said.is_none() {
            said = files::read_if_there(&root.join(path), OS_RELEASE_BYTES_MAX)?;
        }
    }
    let text = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    let said = os_release(&text);
    let said = |name: &str| fact(said.get(name).map_or("", String::as_str));
    let kernel = rustix::system::uname();
    Ok(System {
        host: fact(&kernel.nodename().to_string_lossy()),
        os: said("ID"),
        os_version: said("VERSION_ID"),
        os_name: said("PRETTY_NAME"),
        kernel: fact(&kernel.release().to_string_lossy()),
        kernel_build: fact(&kernel.version().to_string_lossy()),
        architecture: fact(&kernel.machine().to_string_lossy()),
    })
}

/// `NAME=value` lines, values as a shell would read them: quoted or not, with backslashes before what means something.
fn os_release(text: &str) -> BTreeMap<&str, String> {
    let value = |text: &str| {
        let text = text.trim();
        let (text, quote) = match text.chars().next().filter(|first| matches!(first, '"' | '\'')) {
            Some(quote) => (text[1..].strip_suffix(quote).unwrap_or(&text[1..]), quote),
            None => (text, ' '),
        };
        let mut value = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if quote != '\'' => value.extend(letters.next()),
                letter => value.push(letter),
            }
        }
        value
    };
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, text)| (name.trim(), value(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_system_calls_itself_is_read_as_a_shell_would() {
        let said = os_release(
            "# a comment=1\nID=debian\nPRETTY_NAME=\"Debian \\\"12\\\"\"\nVERSION_ID='12 \\'\nX=\"\nodd line\n",
        );
        for (name, value) in [("ID", "debian"), ("PRETTY_NAME", "Debian \"12\""), ("VERSION_ID", "12 \\"), ("X", "")] {
            assert_eq!(said.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(said.len(), 4);
    }
}
