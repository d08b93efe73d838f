//! How much of a stranger's archive is looked at. Units last.

/// The limits of one packing. A value, so that tests can meet them without gigabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Content of all files of the tree together.
    pub tree_bytes_max: u64,
    /// Files, directories and links of the tree.
    pub entries_max: usize,
    /// Decompressed bytes may be this many times the compressed ones …
    pub ratio_max: u64,
    /// … once there are more than this many.
    pub ratio_free_bytes: u64,
}

/// The limits in force.
pub const LIMITS: Limits = Limits {
    tree_bytes_max: 8 * 1024 * 1024 * 1024,
    entries_max: 200_000,
    ratio_max: 200,
    ratio_free_bytes: 64 * 1024 * 1024,
};

/// One path within the tree.
pub const PATH_BYTES_MAX: usize = 4096;
/// One part of a path.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Extended header of one archive entry.
pub const EXTENSION_BYTES_MAX: u64 = 64 * 1024;
/// Control paragraph of a Debian package.
pub const CONTROL_BYTES_MAX: u64 = 256 * 1024;
/// Control archive of a Debian package, decompressed.
pub const CONTROL_ARCHIVE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Members of a Debian package: a version, control, data, and little else.
pub const PACKAGE_MEMBERS_MAX: usize = 16;
/// Values of an RPM package's header: `rpm`'s own limits are as large.
pub const RPM_HEADER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Tags of an RPM package's header.
pub const RPM_TAGS_MAX: usize = 65_535;
/// Memory for xz: what `xz -9` needs, twice.
pub const XZ_MEMORY_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Window of zstd, as a power of two: what `zstd --ultra -22` needs.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Largest payload that a delta is made of or from: all of what it starts from is in memory.
pub const DELTA_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How hard zstd looks for what is the same: packed once, fetched by every host.
pub const DELTA_LEVEL: i32 = 19;
/// Inputs of one packing.
pub const INPUTS_MAX: usize = 256;
