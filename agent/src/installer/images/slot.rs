//! A slot: a block device, or a file of a fixed size, that one image at a time is written into.
//!
//! The beginning of an image is written last. What is not whole, or is not what was verified, never looks like an
//! image, to a boot loader that would fall back to it least of all.

use super::environment::SlotName;
use super::squashfs::{self, SUPERBLOCK_BYTES, SquashfsError};
use crate::files::{self, FileError, failed};
use crate::installer::deadline::Deadline;
use crate::installer::install::Held;
use crate::installer::tree;
use crate::settled::Refusal;
use bao_tree::blake3;
use ledger::id::Digest;
use ledger::receipt::ReasonCode;
use rustix::fs::{Access, Advice, FileType, Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Written last: a page, so that nothing else of it is touched then.
const HEAD_BYTES: usize = 4096;
/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Largest name of a file that the kernel says a loop device is made of.
const BACKING_BYTES_MAX: usize = 8 * 1024;
/// Whoever may change a slot changes what the host starts.
const OTHERS_MAY_WRITE: u32 = 0o002;

/// A slot.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: SlotName,
    path: PathBuf,
}

/// What a slot is in the eyes of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    is_device: bool,
    /// Device and inode of a file; the device itself of a device.
    is: (u64, u64),
}

impl Slot {
    pub(super) fn new(name: SlotName, path: &Path) -> Self {
        Self { name, path: path.to_owned() }
    }

    /// Opens it, and nothing that is no slot.
    fn open(&self, flags: OFlags) -> Result<(File, Identity), FileError> {
        // Without NONBLOCK whatever lies there could hold the agent up for ever.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened =
            rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|error| self.cannot("open")(error.into()))?;
        let stat = rustix::fs::fstat(&opened).map_err(|error| self.cannot("examine")(error.into()))?;
        let identity = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Identity { is_device: false, is: (stat.st_dev, stat.st_ino) },
            FileType::BlockDevice => Identity { is_device: true, is: (stat.st_rdev, 0) },
            _ => return Err(self.cannot("use")(io::Error::other("it is neither a block device nor a file"))),
        };
        if stat.st_mode & OTHERS_MAY_WRITE != 0 {
            return Err(self.cannot("use")(io::Error::other("it may be changed by others")));
        }
        Ok((File::from(opened), identity))
    }

    fn cannot(&self, act: &'static str) -> impl FnOnce(io::Error) -> FileError + use<'_> {
        failed(act, &self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn identity(&self) -> Result<Identity, FileError> {
        self.open(OFlags::RDONLY).map(|(_, identity)| identity)
    }

    /// How much goes into it.
    pub(super) fn bytes(&self) -> Result<u64, FileError> {
        let (mut file, _) = self.open(OFlags::RDONLY)?;
        file.seek(SeekFrom::End(0)).map_err(self.cannot("measure"))
    }

    /// What it lacks of a slot that can be written to.
    pub(super) fn check(&self) -> Result<Identity, FileError> {
        let identity = self.identity()?;
        if self.bytes()? < HEAD_BYTES as u64 {
            return Err(self.cannot("use")(io::Error::other("it is too small for any image")));
        }
        rustix::fs::access(&self.path, Access::WRITE_OK).map_err(|error| self.cannot("write")(error.into()))?;
        Ok(identity)
    }

    /// Makes sure that an image goes into it.
    pub(super) fn check_room(&self, image_bytes: u64) -> Result<(), Refusal> {
        match self.bytes()? {
            room if room < image_bytes => {
                let detail = format!("slot {} has {room} bytes, the image has {image_bytes}", self.name);
                Err(Refusal::new(ReasonCode::DiskFull, detail))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the image that is in it.
    pub(super) fn image_bytes(&self) -> Result<u64, FileError> {
        let (file, _) = self.open(OFlags::RDONLY)?;
        let mut head = [0; SUPERBLOCK_BYTES];
        file.read_exact_at(&mut head, 0).map_err(self.cannot("read"))?;
        let image = squashfs::superblock(&head, self.bytes()?);
        Ok(image.map_err(|error| self.cannot("understand")(io::Error::other(error)))?.bytes_used)
    }

    /// Writes an image into it, hashed on its way once more; all of it is on the disk when this returns.
    pub(super) fn write(&self, held: Held, deadline: Deadline) -> Result<(), Refusal> {
        self.check_room(held.artifact.size)?;
        let mut file = self.open_to_write()?;
        let bytes = held.artifact.size;
        let head = tree::pass_held(held, deadline, |image| self.write_but_head(&mut file, image, bytes))?;
        self.sync(&file)?;
        file.write_all_at(&head, 0).map_err(self.cannot("write"))?;
        self.sync(&file)?;
        Ok(deadline.check()?)
    }

    /// Takes away the beginning of what is in it: that is no image any more.
    pub(super) fn blank(&self) -> Result<(), FileError> {
        let file = self.open_to_write()?;
        file.write_all_at(&[0; HEAD_BYTES], 0).map_err(self.cannot("write"))?;
        self.sync(&file)
    }

    /// Opens it, unless it is in use.
    fn open_to_write(&self) -> Result<File, FileError> {
        let identity = self.identity()?;
        // Of a device that is mounted, or part of another one, the kernel says that it is busy.
        let exclusively = if identity.is_device { OFlags::EXCL } else { OFlags::empty() };
        let (file, opened) = self.open(OFlags::WRONLY | exclusively)?;
        if opened != identity {
            return Err(self.cannot("write")(io::Error::other("it became another one meanwhile")));
        }
        if !opened.is_device {
            self.check_is_no_loop_device(opened)?;
        }
        Ok(file)
    }

    fn write_but_head(&self, file: &mut File, image: &mut dyn Read, bytes: u64) -> Result<Vec<u8>, Refusal> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let read = image.take(HEAD_BYTES as u64).read_to_end(&mut head);
        read.map_err(|error| tree::io_refusal("read the image", &error))?;
        squashfs::superblock(&head, bytes).map_err(|error| not_squashfs(&error))?;
        file.write_all(&[0; HEAD_BYTES][..head.len()]).map_err(self.cannot("write"))?;
        self.sync(file)?;
        io::copy(image, file).map_err(self.cannot("write"))?;
        Ok(head)
    }

    fn sync(&self, file: &File) -> Result<(), FileError> {
        file.sync_all().map_err(self.cannot("sync"))
    }

    /// A file that is mounted by way of a loop device is in use; nothing but this says so.
    fn check_is_no_loop_device(&self, own: Identity) -> Result<(), FileError> {
        for device in files::names(Path::new("/sys/block"))? {
            let backing = Path::new("/sys/block").join(device).join("loop/backing_file");
            let Ok(Some(path)) = files::read_if_there(&backing, BACKING_BYTES_MAX) else { continue };
            let path = String::from_utf8_lossy(&path).trim_end().to_owned();
            if Self::new(self.name, Path::new(&path)).identity().is_ok_and(|identity| identity == own) {
                let busy = io::Error::new(io::ErrorKind::ResourceBusy, "it is mounted, or a loop device");
                return Err(self.cannot("write")(busy));
            }
        }
        Ok(())
    }

    /// The digest of its first bytes, read from the disk and not from memory.
    pub(super) fn digest(&self, bytes: u64, deadline: Option<Deadline>) -> Result<Digest, FileError> {
        let (file, _) = self.open(OFlags::RDONLY)?;
        // Advice: where it is not taken, what is read is what was written all the same.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        let (mut from, mut hasher, mut buffer) = (file.take(bytes), blake3::Hasher::new(), vec![0; READ_BYTES]);
        loop {
            let late = deadline.map_or(Ok(()), |deadline| deadline.check());
            late.map_err(|late| self.cannot("read")(late.into()))?;
            match from.read(&mut buffer).map_err(self.cannot("read"))? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            };
        }
        match hasher.count() == bytes {
            true => Ok(Digest(*hasher.finalize().as_bytes())),
            false => Err(self.cannot("read")(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The same, as long as there is time.
    pub(super) fn digest_in_time(&self, bytes: u64, deadline: Deadline) -> Result<Digest, Refusal> {
        let digest = self.digest(bytes, Some(deadline));
        deadline.check()?;
        Ok(digest?)
    }
}

fn not_squashfs(error: &SquashfsError) -> Refusal {
    Refusal::new(ReasonCode::ArchiveUnsafe, format!("the image cannot be used as squashfs: {error}"))
}

/// Which slot the kernel was started from, by a word of its command line.
pub(super) fn running(command_line: &Path, key: &str) -> Result<SlotName, FileError> {
    /// Largest command line of any kernel, by far.
    const COMMAND_LINE_BYTES_MAX: usize = 64 * 1024;
    let text = files::read(command_line, COMMAND_LINE_BYTES_MAX)?;
    let mut words = text.split(|byte| byte.is_ascii_whitespace() || *byte == 0);
    let mut values = words.by_ref().filter_map(|word| word.strip_prefix(key.as_bytes())?.strip_prefix(b"="));
    let said = match (values.next(), values.next()) {
        (Some(one), None) => SlotName::of(one).ok_or("names no slot"),
        (Some(_), Some(_)) => Err("is there more than once"),
        (None, _) => Err("is not there"),
    };
    said.map_err(|why| failed("understand", command_line)(io::Error::other(format!("{key}= {why}"))))
}

/// Whether a device was made read-only, which opening it does not say.
pub(super) fn is_read_only(slot: &Slot) -> bool {
    let Ok(Identity { is_device: true, is: (device, _) }) = slot.identity() else { return false };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    fs::read(format!("/sys/dev/block/{major}:{minor}/ro")).is_ok_and(|ro| ro.starts_with(b"1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_command_line_names_one_slot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cmdline");
        let running = |line: &str| {
            fs::write(&path, line).unwrap();
            running(&path, "countersign.slot").map_err(|error| error.source.to_string())
        };
        assert_eq!(running("quiet countersign.slot=a root=/dev/x\n"), Ok(SlotName::A));
        assert_eq!(running("countersign.slot=b"), Ok(SlotName::B));
        for (line, why) in [
            ("", "countersign.slot= is not there"),
            ("xcountersign.slot=a countersign.slots=a", "countersign.slot= is not there"),
            ("countersign.slot=c", "countersign.slot= names no slot"),
            ("countersign.slot=", "countersign.slot= names no slot"),
            ("countersign.slot=a countersign.slot=b", "countersign.slot= is there more than once"),
        ] {
            assert_eq!(running(line), Err(why.to_owned()), "{line}");
        }
    }
}
