//! Rights of a program that are more than those of whoever starts it: another user's or group's, capabilities. What the
//! host has already an update may keep, and no more than that.

mod capabilities;

use super::super::footprint::{Mark, Root};
pub use capabilities::Capabilities;
use std::collections::BTreeMap;

/// Where the kernel keeps what a program may do that its user may not.
const CAPABILITIES: &str = "security.capability";
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
/// Largest list of users or groups.
const ACCOUNTS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Whose a file is, as a package says it: by name; by number where the host does not know the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::installer) struct Owner {
    pub(in crate::installer) name: String,
    pub(in crate::installer) number: Option<u32>,
}

/// What a file of a package may do for whoever starts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::installer) struct Rights {
    pub(in crate::installer) mode: u32,
    pub(in crate::installer) user: Owner,
    pub(in crate::installer) group: Owner,
    /// In the words of libcap; empty where there are none.
    pub(in crate::installer) capabilities: String,
}

/// The users and groups of a host, by name.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Accounts {
    /// Those of a root. Where it has no list there are none but the numbers.
    pub(super) fn of(root: &Root) -> Self {
        let list = |path: &str| {
            let bytes = root.read(path, ACCOUNTS_BYTES_MAX).unwrap_or_default();
            parse(&String::from_utf8_lossy(&bytes))
        };
        Self { users: list("etc/passwd"), groups: list("etc/group") }
    }
}

/// `name:…:number:…`, of users and of groups.
fn parse(list: &str) -> BTreeMap<String, u32> {
    let account = |line: &str| {
        let mut parts = line.split(':');
        Some((parts.next()?.to_owned(), parts.nth(1)?.parse().ok()?))
    };
    list.lines().filter_map(account).collect()
}

impl Owner {
    /// Its number on a host that has these.
    fn on(&self, accounts: &BTreeMap<String, u32>) -> Option<u32> {
        match self.name.as_str() {
            "root" => Some(0),
            name => accounts.get(name).copied().or(self.number),
        }
    }
}

impl Rights {
    /// Whether they are more than those of whoever starts the file.
    pub(super) fn are_more(&self) -> bool {
        self.mode & (SETUID | SETGID) != 0 || !self.capabilities.is_empty()
    }

    /// Whether what is there has as much.
    pub(super) fn check(&self, there: &Mark, accounts: &Accounts) -> Result<(), String> {
        let nothing = BTreeMap::new();
        let (had, uid, gid, attributes) = match there {
            Mark::File { mode, uid, gid, attributes, .. } => (*mode, *uid, *gid, attributes),
            _ => (0, 0, 0, &nothing),
        };
        for (bit, word, owner, all, owner_there) in [
            (SETUID, "setuid", &self.user, &accounts.users, uid),
            (SETGID, "setgid", &self.group, &accounts.groups, gid),
        ] {
            if self.mode & bit == 0 {
                continue;
            }
            if had & bit == 0 {
                return Err(format!("is setuid or setgid (mode {:o}), and new here", self.mode));
            }
            match owner.on(all) {
                None => return Err(format!("is {word} for {:?}, whom this host does not know", owner.name)),
                Some(number) if number != owner_there => {
                    return Err(format!("is {word} for {number}, and is so for {owner_there} here"));
                }
                Some(_) => {}
            }
        }
        if self.capabilities.is_empty() {
            return Ok(());
        }
        let Some(had) = attributes.get(CAPABILITIES) else {
            return Err(format!("has capabilities ({}), and is new here", self.capabilities));
        };
        match (Capabilities::from_text(&self.capabilities), Capabilities::from_attribute(had)) {
            (Some(new), Some(had)) if new.are_within(had) => Ok(()),
            (Some(_), Some(_)) => Err(format!("has more capabilities than it has here: {}", self.capabilities)),
            (None, _) => Err(format!("has capabilities that are not understood: {:?}", self.capabilities)),
            (_, None) => Err("has capabilities, and those it has here are not understood".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::id::Digest;

    fn there(mode: u32, uid: u32, gid: u32, capabilities: Option<&[u8]>) -> Mark {
        let attributes = capabilities.map(|value| (CAPABILITIES.to_owned(), value.to_vec())).into_iter().collect();
        Mark::File { mode, uid, gid, size: 1, blake3: Digest([0; 32]), attributes }
    }

    #[test]
    fn what_the_host_has_may_be_kept_and_no_more() {
        let users = parse("root:x:0:0::/root:/bin/sh\ngames:x:5:60::/:\nnoise\nhalf:x\nbad:x:none:\n");
        assert_eq!(users.len(), 2);
        let accounts = Accounts { users, groups: parse("root:x:0:\ncrontab:x:101:\n") };
        let owner = |name: &str, number| Owner { name: name.to_owned(), number };
        let rights = |mode, user: Owner, group: Owner, capabilities: &str| Rights {
            mode,
            user,
            group,
            capabilities: capabilities.to_owned(),
        };
        let (root, games) = (owner("root", Some(0)), owner("games", None));
        let (crontab, nobody) = (owner("crontab", Some(7)), owner("somebody", None));
        let raw = [&0x0200_0001_u32.to_le_bytes()[..], &(1_u32 << 13).to_le_bytes(), &[0; 12]].concat();
        let plain = there(0o755, 0, 0, None);
        for (what, rights, there, problem) in [
            ("kept", rights(0o4755, root.clone(), root.clone(), ""), there(0o4755, 0, 0, None), None),
            ("less", rights(0o4755, root.clone(), root.clone(), ""), there(0o6755, 0, 9, None), None),
            ("new", rights(0o4755, root.clone(), root.clone(), ""), plain.clone(), Some("and new here")),
            ("nothing there", rights(0o2755, root.clone(), root.clone(), ""), Mark::Missing, Some("and new here")),
            (
                "games becomes root",
                rights(0o4755, root.clone(), root.clone(), ""),
                there(0o4755, 5, 0, None),
                Some("is setuid for 0, and is so for 5 here"),
            ),
            (
                "root becomes games",
                rights(0o4755, games.clone(), root.clone(), ""),
                there(0o4755, 0, 0, None),
                Some("is setuid for 5"),
            ),
            ("games stays", rights(0o4755, games, root.clone(), ""), there(0o4755, 5, 0, None), None),
            ("the name counts", rights(0o2755, root.clone(), crontab.clone(), ""), there(0o2755, 0, 101, None), None),
            (
                "and not the number",
                rights(0o2755, root.clone(), crontab, ""),
                there(0o2755, 0, 7, None),
                Some("is setgid for 101"),
            ),
            ("unknown", rights(0o4755, nobody, root.clone(), ""), there(0o4755, 0, 0, None), Some("does not know")),
            ("by number", rights(0o4755, owner("far", Some(9)), root.clone(), ""), there(0o4755, 9, 0, None), None),
            (
                "capable",
                rights(0o755, root.clone(), root.clone(), "cap_net_raw=ep"),
                there(0o755, 0, 0, Some(&raw)),
                None,
            ),
            (
                "newly capable",
                rights(0o755, root.clone(), root.clone(), "cap_net_raw=ep"),
                plain,
                Some("and is new here"),
            ),
            (
                "more capable",
                rights(0o755, root.clone(), root.clone(), "cap_net_raw,cap_sys_admin=ep"),
                there(0o755, 0, 0, Some(&raw)),
                Some("more capabilities than"),
            ),
            (
                "unheard of",
                rights(0o755, root.clone(), root.clone(), "cap_fly=ep"),
                there(0o755, 0, 0, Some(&raw)),
                Some("not understood"),
            ),
            (
                "damaged",
                rights(0o755, root.clone(), root, "cap_net_raw=ep"),
                there(0o755, 0, 0, Some(&raw[..3])),
                Some("not understood"),
            ),
        ] {
            match (rights.check(&there, &accounts), problem) {
                (Ok(()), None) => {}
                (Err(said), Some(words)) if said.contains(words) => {}
                (said, _) => panic!("{what}: {said:?}"),
            }
        }
    }
}
