//! Whom scripts run as: somebody who is nobody else on this host.

use crate::files;
use crate::installer::tool::{self, Tool};
use crate::settled::chain;
use std::path::Path;
use std::time::Duration;

/// The number. Of all there are it lies in one of the few ranges that nothing takes numbers from, neither for users of the
/// system, of people or of services, nor for containers (systemd, `docs/UIDS-GIDS.md`: 1879048192 to 2147352575 is
/// unused; `shadow` gives out 100000 to 600100000).
pub(super) const SCRIPT_USER: u32 = 0x7043_5301;

/// Asks whatever the host keeps accounts in.
const GETENT: &str = "getent";
/// How long one question may take: accounts may be kept elsewhere.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most of an answer that is listened to.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Where accounts and groups are on hosts that have nobody to ask.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// Where ranges of numbers are given to users, for containers of theirs.
const RANGES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
/// Largest of these files.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Who on this host has the number all the same, or why that cannot be found out.
pub(super) fn taken() -> Option<String> {
    let found = match tool::find(GETENT) {
        Some(getent) => ["passwd", "group"].into_iter().find_map(|database| ask(&getent, database)),
        None => ACCOUNTS.into_iter().find_map(|path| look(path, account)),
    };
    let found = found.or_else(|| RANGES.into_iter().find_map(|path| look(path, range)));
    found.map(|who| format!("scripts run as user {SCRIPT_USER}, who must be nobody else: {who}"))
}

fn ask(getent: &Path, database: &str) -> Option<String> {
    let answer = Tool::new(getent, PATIENCE).args([database, &SCRIPT_USER.to_string()]).read_whatever(ANSWER_BYTES_MAX);
    match answer {
        // Its status only says that there is nobody.
        Ok((_, bytes)) => account(&String::from_utf8_lossy(&bytes), SCRIPT_USER).map(str::to_owned),
        Err(error) => Some(chain(&error)),
    }
}

fn look(path: &str, find: fn(&str, u32) -> Option<&str>) -> Option<String> {
    match files::read_if_there(Path::new(path), FILE_BYTES_MAX) {
        Ok(None) => None,
        Ok(Some(bytes)) => {
            find(&String::from_utf8_lossy(&bytes), SCRIPT_USER).map(|line| format!("{path} has {line:?}"))
        }
        Err(error) => Some(chain(&error)),
    }
}

/// The account or group that has a number: `name:password:number:…`.
fn account(text: &str, number: u32) -> Option<&str> {
    text.lines().find(|line| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(number))
}

/// The range that a number is in: `name:first:count`.
fn range(text: &str, number: u32) -> Option<&str> {
    text.lines().find(|line| {
        let mut fields = line.split(':').skip(1).map(|field| field.trim().parse::<u64>());
        match (fields.next(), fields.next()) {
            (Some(Ok(first)), Some(Ok(count))) => (first..first.saturating_add(count)).contains(&u64::from(number)),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What systemd's list of 2024 gives to somebody, and what `shadow` does: first and last of each.
    const ASSIGNED: [(u32, u32); 9] = [
        (0, 65_535),
        (100_000, 600_100_000),
        (524_288, 1_879_048_191),
        (60_001, 60_513),
        (61_184, 65_519),
        (2_147_352_576, 2_147_418_111),
        // Numbers that are negative to whoever reads them with a sign.
        (2_147_483_648, u32::MAX),
        (65_534, 65_536),
        (60_578, 61_183),
    ];

    #[test]
    fn the_number_of_scripts_is_nobodys() {
        for (first, last) in ASSIGNED {
            assert!(!(first..=last).contains(&SCRIPT_USER), "{first} to {last}");
        }
        assert_eq!(taken(), None);
    }

    #[test]
    fn who_has_a_number_is_found() {
        let accounts =
            "root:x:0:0::/root:/bin/sh\nodd\nacme:x:1884508929:7::/:/bin/sh\nother:x:7:1884508929::/:/bin/sh\n";
        assert_eq!(account(accounts, 1_884_508_929), Some("acme:x:1884508929:7::/:/bin/sh"));
        assert_eq!((account(accounts, 7), account(accounts, 8)), (Some("other:x:7:1884508929::/:/bin/sh"), None));
        let ranges = "acme:100000:65536\n\nodd:x:y\nall:1884508000:1000\nend:4294967295:18446744073709551615\n";
        for (number, line) in [
            (99_999, None),
            (100_000, Some("acme:100000:65536")),
            (165_535, Some("acme:100000:65536")),
            (165_536, None),
            (1_884_508_929, Some("all:1884508000:1000")),
            (1_884_509_000, None),
            (u32::MAX, Some("end:4294967295:18446744073709551615")),
        ] {
            assert_eq!(range(ranges, number), line, "{number}");
        }
        assert!(
            ask(&tool::find(GETENT).unwrap_or_default(), "passwd").is_none_or(|said| said.contains("cannot start"))
        );
    }
}
