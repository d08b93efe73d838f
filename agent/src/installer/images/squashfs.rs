//! The first bytes of a squashfs image, looked at before a slot is given to them.
//!
//! The layout is that of version 4.0 (`Documentation/filesystems/squashfs.rst` of Linux, `squashfs_fs.h`): 96 bytes,
//! little-endian. Everything a kernel would have to believe is held against the length of the image: where its tables
//! are, how large its blocks, where its root. Nothing is unpacked.

/// Bytes of a superblock.
pub const SUPERBLOCK_BYTES: usize = 96;
/// `hsqs`.
const MAGIC: u32 = 0x7371_7368;
/// Smallest and largest data block, as powers of two: 4 KiB and 1 MiB.
const BLOCK_LOG: std::ops::RangeInclusive<u16> = 12..=20;
/// zlib, lzma, lzo, xz, lz4, zstd.
const COMPRESSIONS: std::ops::RangeInclusive<u16> = 1..=6;
/// A table that is not there.
const NO_TABLE: u64 = u64::MAX;
/// Bytes of a metadata block, unpacked.
const METADATA_BYTES: u64 = 8 * 1024;

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes of the image, without what it was filled up with.
    pub bytes_used: u64,
    /// Files, directories and everything else in it.
    pub inodes: u32,
}

/// Why bytes are no squashfs image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SquashfsError {
    /// It ends before its superblock does.
    #[error("it has {0} bytes, a superblock alone has {SUPERBLOCK_BYTES}")]
    Short(u64),
    /// Something else.
    #[error("it does not begin as a squashfs image does")]
    Magic,
    /// Another version.
    #[error("it is of version {major}.{minor}, not 4.0")]
    Version {
        /// Before the point.
        major: u16,
        /// Behind it.
        minor: u16,
    },
    /// A number that cannot be.
    #[error("its {field} cannot be {value}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// It says that it is longer than it is.
    #[error("it says that it has {says} bytes, and has {has}")]
    Length {
        /// What it says.
        says: u64,
        /// What there is.
        has: u64,
    },
    /// A table that is not where tables are.
    #[error("its {table} table cannot be at byte {at} of {bytes_used}")]
    Table {
        /// Which.
        table: &'static str,
        /// Where it is said to be.
        at: u64,
        /// Where the image ends.
        bytes_used: u64,
    },
}

/// Reads the superblock of an image of so many bytes.
///
/// # Errors
/// [`SquashfsError`] is the first thing that cannot be.
pub fn superblock(head: &[u8], image_bytes: u64) -> Result<Superblock, SquashfsError> {
    let head = head.get(..SUPERBLOCK_BYTES).filter(|_| image_bytes >= SUPERBLOCK_BYTES as u64);
    let head = head.ok_or(SquashfsError::Short(image_bytes))?;
    if u32_at(head, 0) != MAGIC {
        return Err(SquashfsError::Magic);
    }
    let (major, minor) = (u16_at(head, 28), u16_at(head, 30));
    if (major, minor) != (4, 0) {
        return Err(SquashfsError::Version { major, minor });
    }
    let check = |field, value: u64, can_be: bool| match can_be {
        true => Ok(()),
        false => Err(SquashfsError::Field { field, value }),
    };
    let (inodes, block_bytes, block_log) = (u32_at(head, 4), u32_at(head, 12), u16_at(head, 22));
    check("number of inodes", inodes.into(), inodes > 0)?;
    check("block size's logarithm", block_log.into(), BLOCK_LOG.contains(&block_log))?;
    check("block size", block_bytes.into(), u64::from(block_bytes) == 1 << block_log)?;
    check("compression", u16_at(head, 20).into(), COMPRESSIONS.contains(&u16_at(head, 20)))?;
    check("number of owners", u16_at(head, 26).into(), u16_at(head, 26) > 0)?;

    let bytes_used = u64_at(head, 40);
    if bytes_used <= SUPERBLOCK_BYTES as u64 || bytes_used > image_bytes {
        return Err(SquashfsError::Length { says: bytes_used, has: image_bytes });
    }
    check_tables(head, bytes_used)?;
    Ok(Superblock { bytes_used, inodes })
}

/// Inodes, directories, then what may be absent, then owners, and the end.
fn check_tables(head: &[u8], bytes_used: u64) -> Result<(), SquashfsError> {
    let (inodes, directories, owners) = (u64_at(head, 64), u64_at(head, 72), u64_at(head, 48));
    let tables = [
        ("inode", inodes, SUPERBLOCK_BYTES as u64..directories),
        ("directory", directories, inodes..bytes_used),
        ("fragment", u64_at(head, 80), directories..bytes_used),
        ("export", u64_at(head, 88), directories..bytes_used),
        ("owner", owners, directories..bytes_used),
        ("attribute", u64_at(head, 56), owners..bytes_used),
    ];
    for (table, at, within) in tables {
        let may_be_absent = matches!(table, "fragment" | "export" | "attribute");
        let can_be = within.contains(&at) || (may_be_absent && at == NO_TABLE);
        if !can_be {
            return Err(SquashfsError::Table { table, at, bytes_used });
        }
    }
    // A metadata block from the beginning of the inodes, and a place in it.
    let (root, room) = (u64_at(head, 32), directories - inodes);
    match root >> 16 < room && root & 0xffff < METADATA_BYTES {
        true => Ok(()),
        false => Err(SquashfsError::Field { field: "root", value: root }),
    }
}

fn bytes_at<const N: usize>(head: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);
    bytes
}

fn u16_at(head: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(head, at))
}

fn u32_at(head: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(head, at))
}

fn u64_at(head: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(head, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The superblock of an image that `mksquashfs` 4.5.1 made of one small file, 218 bytes and filled up to 4096.
    fn made_by_mksquashfs() -> Vec<u8> {
        hex::decode(MADE).unwrap()
    }

    const MADE: &str = "687371730200000000000000000002000100000001001100c0020100040000002000000000000000da00000000000000\
        d200000000000000ffffffffffffffff66000000000000008700000000000000ac00000000000000c400000000000000";

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut head = made_by_mksquashfs();
        head[at..at + bytes.len()].copy_from_slice(bytes);
        head
    }

    #[test]
    fn an_image_is_read_as_its_maker_says() {
        let image = superblock(&made_by_mksquashfs(), 4096).unwrap();
        assert_eq!(image, Superblock { bytes_used: 218, inodes: 2 });
        assert_eq!(superblock(&made_by_mksquashfs(), 218), Ok(image), "without what it was filled up with");
    }

    #[test]
    fn what_cannot_be_is_said_by_name() {
        let head = made_by_mksquashfs();
        let field = |field, value| SquashfsError::Field { field, value };
        let table = |table, at| SquashfsError::Table { table, at, bytes_used: 218 };
        for (head, bytes, error) in [
            (head[..95].to_vec(), 4096, SquashfsError::Short(4096)),
            (head.clone(), 95, SquashfsError::Short(95)),
            (with(0, b"sqsh"), 4096, SquashfsError::Magic),
            (with(28, &[3]), 4096, SquashfsError::Version { major: 3, minor: 0 }),
            (with(4, &[0; 4]), 4096, field("number of inodes", 0)),
            (with(22, &[63]), 4096, field("block size's logarithm", 63)),
            (with(22, &[12]), 4096, field("block size", 131_072)),
            (with(20, &[7]), 4096, field("compression", 7)),
            (with(26, &[0]), 4096, field("number of owners", 0)),
            (head.clone(), 217, SquashfsError::Length { says: 218, has: 217 }),
            (with(40, &[96, 0]), 4096, SquashfsError::Length { says: 96, has: 4096 }),
            (with(40, &[0xff; 8]), 4096, SquashfsError::Length { says: u64::MAX, has: 4096 }),
            (with(64, &[95, 0]), 4096, table("inode", 95)),
            (with(72, &[0xff; 8]), 4096, table("directory", u64::MAX)),
            (with(48, &[0xff; 8]), 4096, table("owner", u64::MAX)),
            (with(80, &[0, 0, 1]), 4096, SquashfsError::Table { table: "fragment", at: 0, bytes_used: 218 }),
            (with(32, &[0, 0x20]), 4096, field("root", 0x2000)),
            (with(32, &[0, 0, 0xff]), 4096, field("root", 0xff_0000)),
        ] {
            let read = superblock(&head, bytes);
            match (read, error) {
                // What else is in those bytes is the maker's.
                (Err(SquashfsError::Table { table: a, .. }), SquashfsError::Table { table: b, .. }) => assert_eq!(a, b),
                (Err(SquashfsError::Field { field: a, .. }), SquashfsError::Field { field: b, .. }) => assert_eq!(a, b),
                (read, error) => assert_eq!(read, Err(error)),
            }
        }
    }
}
