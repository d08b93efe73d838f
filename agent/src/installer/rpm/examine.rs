//! A package, looked into before rpm is let near the host with it. Its header says what it brings, and rpm unpacks
//! nothing else.

use super::super::packages::{Brings, Contents, ManagerError, Owner, Rights, bytes_max, check_target, is_identity};
use super::super::unpack::{EntryProblem, LIMITS, plain_path};
use super::command::Rpm;
use crate::settled::{Refusal, chain};
use ledger::receipt::ReasonCode;
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::path::Path;

/// What a package says it is, one line each.
const IDENTITY: &str = "%{NAME}\n%{EVR}\n%{ARCH}\n%{SOURCEPACKAGE}\n%{FILENAMES:arraysize}\n";
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;
/// What it takes the place of.
const OBSOLETES: &str = "[%{OBSOLETENAME}\n]";
/// What it brings: the name comes last, and nobody's name can make a line look like two.
const FILES: &str = "[%{FILEMODES}\t%{LONGFILESIZES}\t%{FILEFLAGS}\t%{FILEINODES}\t%{FILECAPS}\t%{FILEUSERNAME}\t%{FILEGROUPNAME}\t\
     %{FILELINKTOS}\t%{FILENAMES}\n]";
const FILES_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What rpm says where there is nothing.
const NONE: &str = "(none)";
/// A file that is the package's by name only (`RPMFILE_GHOST`).
pub(super) const GHOST: u32 = 1 << 6;

/// Looks into a package.
pub(super) fn examine(rpm: &Rpm, package: &Path, called: &str) -> Result<Contents, Refusal> {
    let unsafe_ = |detail: String| Refusal::new(ReasonCode::ArchiveUnsafe, format!("package {called}: {detail}"));
    let broken = |error: ManagerError| unsafe_(chain(&error));
    let packed = std::fs::metadata(package).map_err(|error| unsafe_(error.to_string()))?.len();
    rpm.check_digests(package).map_err(broken)?;
    let said = rpm.ask(package, IDENTITY, IDENTITY_BYTES_MAX).map_err(broken)?;
    let (mut contents, count) = identity(&said).map_err(unsafe_)?;
    contents.obsoletes = lines(&rpm.ask(package, OBSOLETES, IDENTITY_BYTES_MAX).map_err(broken)?);
    if count > 0 {
        let listing = rpm.ask(package, FILES, FILES_BYTES_MAX).map_err(broken)?;
        read(&mut contents, &listing, count, bytes_max(packed)).map_err(unsafe_)?;
    }
    Ok(contents)
}

fn lines(said: &str) -> Vec<String> {
    said.lines().filter(|line| !line.is_empty() && *line != NONE).map(str::to_owned).collect()
}

/// Name, version and architecture: they stand in command lines and file names from here on. And how many entries there
/// are, by what it says.
///
/// # Errors
/// What is none, or cannot be used.
pub fn identity(said: &str) -> Result<(Contents, usize), String> {
    let [name, version, architecture, source, count] = said.lines().collect::<Vec<_>>()[..] else {
        return Err("it does not say what it is".to_owned());
    };
    let plain = |more: &'static [u8]| move |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
    for (what, text, more) in
        [("name", name, &b"._+-"[..]), ("version", version, &b"._+-~^:"[..]), ("architecture", architecture, &b"_"[..])]
    {
        if !is_identity(text, plain(more)) {
            return Err(format!("{text:?} is no {what}"));
        }
    }
    if source != NONE {
        return Err("it is a source package".to_owned());
    }
    let count = if count == NONE { Some(0) } else { count.parse().ok() };
    let count = count.filter(|count| *count <= LIMITS.entries_max).ok_or("it brings more than any package may")?;
    let (name, version, architecture) = (name.to_owned(), version.to_owned(), architecture.to_owned());
    Ok((Contents { name, version, architecture, ..Contents::default() }, count))
}

/// Reads what it brings: so many lines, of so many bytes of files at the most.
///
/// # Errors
/// Which entry may not be there, and why.
pub fn read(contents: &mut Contents, listing: &str, count: usize, bytes_max: u64) -> Result<(), String> {
    // A name with a line's end in it makes more lines than there are names.
    if listing.lines().count() != count {
        return Err("it has a name that is not plain text".to_owned());
    }
    let (mut bytes, mut inodes) = (0_u64, BTreeSet::new());
    let mut entries = Vec::new();
    for line in listing.lines() {
        let (path, entry) = Entry::parse(line).ok_or_else(|| format!("{line:?} is no entry"))?;
        let refused = |problem: EntryProblem| format!("entry {path:?} {problem}");
        let (path, brings) = entry.checked(path, &mut inodes).map_err(refused)?;
        if let Brings::File { bytes: more, .. } = brings {
            bytes = bytes.saturating_add(more);
        }
        if bytes > bytes_max {
            return Err(refused(EntryProblem::TooLarge(bytes_max)));
        }
        if !path.is_empty() {
            if entry.is_ghost {
                contents.ghosts.insert(path.clone());
            }
            if let Brings::File { .. } = brings {
                contents.grant(&path, entry.rights());
            }
            entries.push((path, brings));
        }
    }
    // Whatever comes first there: what is beneath something comes after it.
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, brings) in entries {
        contents.bring(path.clone(), brings).map_err(|problem| format!("entry {path:?} {problem}"))?;
    }
    Ok(())
}

/// A line of the listing.
struct Entry<'a> {
    mode: u32,
    bytes: u64,
    is_ghost: bool,
    inode: u64,
    capabilities: &'a str,
    user: &'a str,
    group: &'a str,
    target: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<(&'a str, Self)> {
        let [mode, bytes, flags, inode, capabilities, user, group, target, path] =
            line.splitn(9, '\t').collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let (mode, is_ghost) = (mode.parse().ok()?, flags.parse::<u32>().ok()? & GHOST != 0);
        let (bytes, inode) = (bytes.parse().ok()?, inode.parse().ok()?);
        Some((path, Self { mode, bytes, is_ghost, inode, capabilities, user, group, target }))
    }

    /// An owner has a name and no number. What rpm does with a name that a host does not know is nobody's right.
    fn rights(&self) -> Rights {
        let owner = |name: &str| Owner { name: name.to_owned(), number: None };
        let capabilities = if self.capabilities == NONE { "" } else { self.capabilities }.to_owned();
        Rights { mode: self.mode & 0o7777, user: owner(self.user), group: owner(self.group), capabilities }
    }

    fn checked(&self, path: &str, inodes: &mut BTreeSet<u64>) -> Result<(String, Brings), EntryProblem> {
        // From the root on, as all of them are: otherwise it is no path of rpm's.
        let path = plain_path(path.strip_prefix('/').ok_or(EntryProblem::Nameless)?.as_bytes())?;
        let brings = match FileType::from_raw_mode(self.mode) {
            FileType::Directory => Brings::Directory,
            FileType::RegularFile => {
                // A further name of a file takes no room.
                let bytes = if !self.is_ghost && inodes.insert(self.inode) { self.bytes } else { 0 };
                Brings::File { mode: self.mode & 0o7777, bytes }
            }
            FileType::Symlink => {
                check_target(self.target.as_bytes())?;
                Brings::Link
            }
            FileType::CharacterDevice => return Err(EntryProblem::Kind("character device")),
            FileType::BlockDevice => return Err(EntryProblem::Kind("block device")),
            FileType::Fifo => return Err(EntryProblem::Kind("named pipe")),
            _ => return Err(EntryProblem::Kind("special entry")),
        };
        Ok((path, brings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: u32, target: &str, path: &str) -> String {
        format!("{mode}\t7\t0\t1\t(none)\troot\troot\t{target}\t{path}\n")
    }

    #[test]
    fn hostile_headers_are_refused_by_name() {
        let (file, directory, link) = (0o100_644, 0o040_755, 0o120_777);
        let rows = [
            ("plain", vec![entry(directory, "", "/d"), entry(file, "", "/d/f"), entry(link, "/etc", "/l")], None),
            ("climbs", vec![entry(file, "", "/../f")], Some("`..`")),
            ("relative", vec![entry(file, "", "f")], Some("no name")),
            ("twice", vec![entry(file, "", "/f"), entry(file, "", "/./f")], Some("twice")),
            ("through its own link", vec![entry(file, "", "/l/f"), entry(link, "/etc", "/l")], Some("no directory")),
            ("a device", vec![entry(0o020_666, "", "/null")], Some("character device")),
            ("a pipe", vec![entry(0o010_666, "", "/pipe")], Some("named pipe")),
            ("an escape sequence", vec![entry(file, "", "/a\x1b[2J")], Some("control characters")),
            ("a tab in a target", vec![entry(link, "a\tb", "/l")], Some("no name")),
            ("no number", vec!["x\t7\t0\t1\t\troot\troot\t\t/f\n".to_owned()], Some("no entry")),
            ("too large", vec![format!("{file}\t{}\t0\t1\t\troot\troot\t\t/f\n", 1_u64 << 40)], Some("too large")),
        ];
        for (what, lines, expected) in rows {
            let result = read(&mut Contents::default(), &lines.concat(), lines.len(), bytes_max(1000));
            match expected {
                None => assert_eq!(result, Ok(()), "{what}"),
                Some(words) => assert!(result.clone().unwrap_err().contains(words), "{what}: {result:?}"),
            }
        }
        let two = [entry(file, "", "/a\n33188\t7\t0\t1\t(none)\troot\troot\t\t/b")].concat();
        let forged = read(&mut Contents::default(), &two, 1, bytes_max(1000));
        assert_eq!(forged, Err("it has a name that is not plain text".to_owned()));
    }

    #[test]
    fn rights_are_seen() {
        let mut contents = Contents::default();
        let lines = "35309\t7\t0\t1\t(none)\tgames\troot\t\t/su\n\
                     33261\t7\t0\t2\tcap_net_raw=ep\troot\troot\t\t/ping\n\
                     33261\t7\t0\t2\t\troot\troot\t\t/also\n";
        read(&mut contents, lines, 3, bytes_max(1000)).unwrap();
        assert_eq!(contents.entries["su"], Brings::File { mode: 0o4755, bytes: 7 });
        assert_eq!(contents.entries["ping"], Brings::File { mode: 0o755, bytes: 7 });
        assert_eq!(contents.entries["also"], Brings::File { mode: 0o755, bytes: 0 });
        let seen: Vec<_> =
            contents.rights.iter().map(|(path, of)| (path.as_str(), of.mode, &*of.capabilities)).collect();
        assert_eq!(seen, [("ping", 0o755, "cap_net_raw=ep"), ("su", 0o4755, "")]);
        assert_eq!(contents.rights["su"].user, Owner { name: "games".to_owned(), number: None });
    }

    #[test]
    fn what_is_the_packages_by_name_only_is_told_apart() {
        let mut contents = Contents::default();
        let lines =
            "33188\t7\t64\t1\t\tu\tg\t\t/log\n33188\t7\t81\t2\t\tu\tg\t\t/conf\n33188\t7\t17\t3\t\tu\tg\t\t/file\n";
        read(&mut contents, lines, 3, bytes_max(1000)).unwrap();
        assert_eq!(contents.ghosts, ["conf", "log"].map(str::to_owned).into());
        assert_eq!(contents.entries["log"], Brings::File { mode: 0o644, bytes: 0 });
    }

    #[test]
    fn what_stands_in_command_lines_is_plain() {
        for (said, is_fine) in [
            ("app\n1:1.0-1\nnoarch\n(none)\n(none)\n", true),
            ("--erase\n1.0-1\nnoarch\n(none)\n1\n", false),
            ("app\n1.0-1/..\nnoarch\n(none)\n1\n", false),
            ("app\n1.0-1\nnoarch\n1\n1\n", false),
            ("app\n1.0-1\nnoarch\n(none)\n999999\n", false),
            ("app\n1.0-1\n", false),
        ] {
            assert_eq!(identity(said).is_ok(), is_fine, "{said:?}");
        }
    }
}
