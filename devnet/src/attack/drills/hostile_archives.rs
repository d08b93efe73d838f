//! Hostile archives: a patch that is published and approved, whose archive reaches outside. It extracts beneath the
//! target and nowhere else; here nothing but the unpacking stands in the way.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use std::fs;
use std::path::Path;
use tar::{Builder, EntryType, Header};

pub(super) const DRILL: Drill = Drill {
    name: "hostile-archives",
    attack: "An approved patch has an archive that reaches outside.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/hostile-archives";
/// What lies outside, and must stay as it is.
const CANARY: &str = "alive\n";
/// More directories than there are above any into which something is unpacked.
const UP: usize = 14;
/// What a bomb claims to become.
const BOMB_BYTES: u64 = 1 << 40;

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let cage = stage.place("canary");
    fs::create_dir(&cage).map_err(AttackError::io("cannot make a canary"))?;
    let canary = stage.write("canary/canary", CANARY.as_bytes())?;
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    let mut release = 0;
    for (tried, archive) in hostile(&canary)? {
        release += 1;
        let packed = stage.pack_archive(PRODUCT, release, &archive).await?;
        let patch = stage.approved(&packed).await?;
        let ending = host.apply(&patch).await?;
        let ending =
            if is_well(&cage) { ending } else { Ending::Done { what: format!("{} is not as it was", cage.display()) } };
        played.tried(tried, Promise::RefusedBy(&["archive-unsafe"]), ending);
    }
    let plain = Archive::default().entry(EntryType::Regular, "canary", 0o644, "")?.end()?;
    let packed = stage.pack_archive(PRODUCT, release + 1, &plain).await?;
    let patch = stage.approved(&packed).await?;
    played.control("an archive with a plain file", host.apply(&patch).await?);
    Ok(played)
}

/// Whether nothing happened where the canary lives.
fn is_well(cage: &Path) -> bool {
    let names = fs::read_dir(cage).map(|entries| entries.flatten().count());
    names.is_ok_and(|count| count == 1) && fs::read_to_string(cage.join("canary")).is_ok_and(|text| text == CANARY)
}

fn hostile(canary: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, AttackError> {
    use EntryType::{Block, Char, Link, Regular, Symlink};
    let (aim, cage) = (canary.display().to_string(), canary.parent().unwrap_or(canary).display().to_string());
    let one = |kind, name: &str, mode, link: &str| Archive::default().entry(kind, name, mode, link)?.end();
    Ok(vec![
        // From wherever it is unpacked: what goes up from the root stays there.
        ("..", one(Regular, &format!("{}{}", "../".repeat(UP), aim.trim_start_matches('/')), 0o644, "")?),
        ("absolute path", one(Regular, &aim, 0o644, "")?),
        ("link out", one(Symlink, "out", 0o777, &aim)?),
        ("hard link out", one(Link, "out", 0o644, &aim)?),
        (
            "link, then a file through it",
            Archive::default().entry(Symlink, "out", 0o777, &cage)?.entry(Regular, "out/canary", 0o644, "")?.end()?,
        ),
        (
            "link, then a file over it",
            Archive::default().entry(Symlink, "out", 0o777, "in")?.entry(Regular, "out", 0o644, "")?.end()?,
        ),
        ("character device", one(Char, "null", 0o666, "")?),
        ("block device", one(Block, "disk", 0o666, "")?),
        ("setuid", one(Regular, "root", 0o4755, "")?),
        ("case clash", Archive::default().entry(Regular, "Read", 0o644, "")?.entry(Regular, "READ", 0o644, "")?.end()?),
        ("bomb", Archive::default().claiming("bomb", BOMB_BYTES)?.end()?),
    ])
}

/// An archive in the making. Names are written as they are: hostile ones, too.
struct Archive(Builder<Vec<u8>>);

impl Default for Archive {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

/// A name longer than a header has room for.
fn too_long(name: &str) -> AttackError {
    AttackError::Stage(format!("{name} is too long for an archive: choose a shorter --dir"))
}

impl Archive {
    fn header(kind: EntryType, name: &str, mode: u32, link: &str) -> Result<Header, AttackError> {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().ok_or_else(|| too_long(name))?;
        gnu.name.get_mut(..name.len()).ok_or_else(|| too_long(name))?.copy_from_slice(name.as_bytes());
        gnu.linkname.get_mut(..link.len()).ok_or_else(|| too_long(link))?.copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_cksum();
        Ok(header)
    }

    fn entry(mut self, kind: EntryType, name: &str, mode: u32, link: &str) -> Result<Self, AttackError> {
        let mut header = Self::header(kind, name, mode, link)?;
        let content: &[u8] = if kind == EntryType::Regular { b"dead\n" } else { b"" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).map_err(AttackError::io("cannot make an archive"))?;
        Ok(self)
    }

    /// An entry that claims to be so large.
    fn claiming(mut self, name: &str, bytes: u64) -> Result<Self, AttackError> {
        let mut header = Self::header(EntryType::Regular, name, 0o644, "")?;
        header.set_size(bytes);
        header.set_cksum();
        self.0.append(&header, &b"boom"[..]).map_err(AttackError::io("cannot make an archive"))?;
        Ok(self)
    }

    fn end(self) -> Result<Vec<u8>, AttackError> {
        self.0.into_inner().map_err(AttackError::io("cannot make an archive"))
    }
}
