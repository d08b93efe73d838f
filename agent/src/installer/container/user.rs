//! Who an image's program runs as: the words of its configuration, looked up in its own files.

use super::rootfs::read_inside;
use crate::settled::Refusal;
use ledger::bounded::Sentence;
use ledger::receipt::ReasonCode;
use std::io;
use std::path::Path;

/// Largest list of users or groups in an image.
const ACCOUNTS_BYTES_MAX: u64 = 1024 * 1024;
/// Groups of one user.
pub const GROUPS_MAX: usize = 64;

/// Numbers of a user and of his groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user's own.
    pub uid: u32,
    /// Of the group.
    pub gid: u32,
    /// Of all other groups the user is in.
    pub more_groups: Vec<u32>,
}

/// Why an image's user is nobody.
#[derive(Debug, thiserror::Error)]
enum UserError {
    #[error("its user {0:?} is none of its own")]
    Unknown(Sentence),
    #[error("its list of accounts cannot be read")]
    Unreadable(#[source] io::Error),
}

impl From<UserError> for Refusal {
    fn from(error: UserError) -> Self {
        Self::new(ReasonCode::ArchiveUnsafe, format!("the image: {}", crate::settled::chain(&error)))
    }
}

/// Finds `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid`; root where nothing is said.
///
/// # Errors
/// [`Refusal`] when the image has no such user, or no list of accounts that can be read.
pub fn find(root: &Path, words: &str) -> Result<User, Refusal> {
    let unknown = || UserError::Unknown(Sentence::cut(words));
    let lines = |path| {
        let bytes = read_inside(root, path, ACCOUNTS_BYTES_MAX).map_err(UserError::Unreadable)?.unwrap_or_default();
        Ok::<_, UserError>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (user, group) = words.split_once(':').map_or((words, None), |(user, group)| (user, Some(group)));
    let (users, groups) = (lines("etc/passwd")?, lines("etc/group")?);
    let account = fields(&users).find(|account| match user.parse::<u32>() {
        Ok(uid) => number(account, 2) == Some(uid),
        Err(_) => !user.is_empty() && account[0] == user,
    });
    let uid = match user {
        "" => Some(0),
        user => user.parse().ok().or_else(|| number(account.as_ref()?, 2)),
    };
    let gid = match group {
        Some(group) => group.parse().ok().or_else(|| {
            let named = fields(&groups).find(|line| !group.is_empty() && line[0] == group)?;
            number(&named, 2)
        }),
        None => Some(account.as_ref().and_then(|account| number(account, 3)).unwrap_or(0)),
    };
    let name = account.as_ref().filter(|_| group.is_none()).map(|account| account[0]);
    let is_member = |line: &Vec<&str>| {
        name.is_some_and(|name| line.get(3).is_some_and(|members| members.split(',').any(|member| member == name)))
    };
    let more_groups = fields(&groups).filter(is_member).filter_map(|line| number(&line, 2)).take(GROUPS_MAX).collect();
    match (uid, gid) {
        // The largest number means nobody.
        (Some(uid), Some(gid)) if uid != u32::MAX && gid != u32::MAX => Ok(User { uid, gid, more_groups }),
        _ => Err(unknown().into()),
    }
}

/// Lines of an account file, as fields.
fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn number(line: &[&str], place: usize) -> Option<u32> {
    line.get(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_those_of_the_image() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\nlogs:x:44:acme,other\n\nodd\n").unwrap();
        std::fs::write(root.join("real"), "root:x:0:0::/:/bin/sh\nacme:x:1000:33::/:/bin/sh\nodd\n").unwrap();
        // A link in an image begins at the image's root, and not at the host's.
        std::os::unix::fs::symlink("/real", root.join("etc/passwd")).unwrap();
        let user = |uid, gid, more: &[u32]| Some(User { uid, gid, more_groups: more.to_vec() });
        for (words, expected) in [
            ("", user(0, 0, &[])),
            ("root", user(0, 0, &[])),
            ("acme", user(1000, 33, &[44])),
            ("1000", user(1000, 33, &[44])),
            ("acme:logs", user(1000, 44, &[])),
            ("7:8", user(7, 8, &[])),
            ("7", user(7, 0, &[])),
            ("acme:9", user(1000, 9, &[])),
            ("nobody", None),
            ("acme:nobody", None),
            ("acme:", None),
            ("4294967295", None),
            ("-1", None),
            ("odd", None),
        ] {
            assert_eq!(find(&root, words).ok(), expected, "{words:?}");
        }
    }

    #[test]
    fn a_list_of_accounts_is_bounded_and_a_file() {
        let room = tempfile::tempdir().unwrap();
        std::fs::create_dir(room.path().join("etc")).unwrap();
        let passwd = room.path().join("etc/passwd");
        std::fs::write(&passwd, vec![b'\n'; usize::try_from(ACCOUNTS_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(find(room.path(), "acme").unwrap_err().reason.detail.as_str().contains("cannot be read"));
        std::fs::remove_file(&passwd).unwrap();
        std::fs::create_dir(&passwd).unwrap();
        assert!(find(room.path(), "acme").is_err(), "nobody is in a directory");
        assert_eq!(find(room.path(), "").unwrap(), User::default());
    }
}
