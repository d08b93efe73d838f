//! Reading an OCI image layout: from its index to one manifest for this host, its configuration and its layers. Every
//! blob is believed only under the SHA-256 digest and the size of the descriptor that leads to it; the layout as a
//! whole is what the vendor signed.

use crate::files;
use crate::installer::deadline::Deadline;
use crate::settled::{Refusal, chain};
use ledger::bounded::Sentence;
use ledger::receipt::ReasonCode;
use oci_spec::image::{
    Arch, Descriptor, DigestAlgorithm, ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout, Os,
    Platform,
};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest index, manifest or configuration.
const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;
/// Largest marker of a layout.
const MARKER_BYTES_MAX: usize = 4 * 1024;
/// Version of layouts that is understood.
const LAYOUT_VERSION: &str = "1.0.0";
/// Indexes within indexes.
const INDEX_DEPTH_MAX: usize = 3;
/// Descriptors of all indexes of a layout together.
const DESCRIPTORS_MAX: usize = 256;
/// Layers of one image.
pub const LAYERS_MAX: usize = 127;
/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error("it is no OCI image layout of version {LAYOUT_VERSION}: {0}")]
    NoLayout(Sentence),
    #[error("{what} is not understood: {problem}")]
    Document { what: &'static str, problem: Sentence },
    #[error("{what} {digest} has {actual} bytes, its descriptor says {expected}")]
    Length { what: &'static str, digest: String, actual: u64, expected: u64 },
    #[error("{what} {expected} hashes to {actual}")]
    Digest { what: &'static str, expected: String, actual: String },
    #[error("{what} has {bytes} bytes, {DOCUMENT_BYTES_MAX} are the most")]
    TooLarge { what: &'static str, bytes: u64 },
    #[error("{digest}: only SHA-256 digests are believed")]
    Algorithm { digest: Sentence },
    #[error("its indexes have {count} descriptors and more, {DESCRIPTORS_MAX} are the most")]
    TooManyDescriptors { count: usize },
    #[error("its indexes lie in each other more than {INDEX_DEPTH_MAX} deep")]
    TooDeep,
    #[error("it has no image for {host}; it has {there}")]
    NoImage { host: String, there: Sentence },
    #[error("it has {count} images for {host}; one is installed, and nobody says which")]
    SeveralImages { count: usize, host: String },
    #[error("it is for {there}, this host is {host}")]
    Platform { there: Sentence, host: String },
    #[error("it has {layers} layers, and {diffs} digests of what is in them; 1 to {LAYERS_MAX} of each are installed")]
    Layers { layers: usize, diffs: usize },
    #[error("a layer is {0}; those of tar, tar+gzip and tar+zstd are installed")]
    LayerKind(Sentence),
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        let code = match &error {
            ImageError::Digest { .. } | ImageError::Length { .. } => ReasonCode::ArtifactDigest,
            ImageError::NoImage { .. } | ImageError::Platform { .. } => ReasonCode::Target,
            ImageError::Io { .. } => ReasonCode::Io,
            _ => ReasonCode::ArchiveUnsafe,
        };
        Self::new(code, format!("the image: {}", chain(&error)))
    }
}

fn sentence(text: impl ToString) -> Sentence {
    Sentence::cut(&text.to_string().replace('\n', " "))
}

/// How something in a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip, in one part or in several.
    Gzip,
    /// By zstd.
    Zstd,
}

/// One layer: its blob, and the digest of the archive in it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where the blob is.
    pub path: PathBuf,
    /// How it is compressed.
    pub compression: Compression,
    /// SHA-256 digest of the archive in it, in hexadecimal digits.
    pub diff_sha256: String,
}

/// The image for this host.
#[derive(Debug)]
pub struct Image {
    /// Digest of its manifest: what people call the image by.
    pub digest: String,
    /// What it runs, and where.
    pub configuration: ImageConfiguration,
    /// What it is made of, the lowest first.
    pub layers: Vec<Layer>,
}

/// What the indexes of a layout lead to.
#[derive(Default)]
struct Found {
    /// Descriptors gone through.
    descriptors: usize,
    /// Images that may be for this host.
    fitting: Vec<Descriptor>,
    /// What is for others, in words.
    others: Vec<String>,
}

/// Where unpacked layouts are read from.
struct Layout<'a> {
    root: &'a Path,
    deadline: Deadline,
}

/// Reads the one image that a layout has for this host, and checks every blob of it. Blocking.
///
/// # Errors
/// [`Refusal`] says what is wrong with it, or that it is for others.
pub fn read(root: &Path, deadline: Deadline) -> Result<Image, Refusal> {
    let layout = Layout { root, deadline };
    let marker = files::read(&root.join("oci-layout"), MARKER_BYTES_MAX);
    let marker = marker.map_err(|error| ImageError::NoLayout(sentence(chain(&error))))?;
    let version = parse::<OciLayout>("oci-layout", &marker)?.image_layout_version().clone();
    if version != LAYOUT_VERSION {
        return Err(ImageError::NoLayout(sentence(format!("{version:?}"))).into());
    }
    let path = root.join("index.json");
    let index = files::read(&path, usize::try_from(DOCUMENT_BYTES_MAX).unwrap_or(usize::MAX))?;
    let mut found = Found::default();
    layout.search(&parse("its index", &index)?, 0, &mut found)?;
    let Found { fitting, others, .. } = found;
    let host = host_platform();
    let found = match &fitting[..] {
        [] => Err(ImageError::NoImage { host: shown(&host), there: sentence(others.join(", ")) }),
        [one] => Ok(one),
        several => Err(ImageError::SeveralImages { count: several.len(), host: shown(&host) }),
    }?;
    let manifest: ImageManifest = layout.document("its manifest", found)?;
    let configuration: ImageConfiguration = layout.document("its configuration", manifest.config())?;
    let (architecture, os) = (configuration.architecture(), configuration.os());
    if (architecture, os) != (host.architecture(), host.os()) {
        let there = sentence(format!("{os}/{architecture}"));
        return Err(ImageError::Platform { there, host: shown(&host) }.into());
    }
    let (blobs, diffs) = (manifest.layers(), configuration.rootfs().diff_ids());
    if blobs.len() != diffs.len() || blobs.is_empty() || blobs.len() > LAYERS_MAX {
        return Err(ImageError::Layers { layers: blobs.len(), diffs: diffs.len() }.into());
    }
    let layers = blobs.iter().zip(diffs).map(|(blob, diff)| layout.layer(blob, diff)).collect::<Result<_, _>>()?;
    Ok(Image { digest: found.digest().to_string(), configuration, layers })
}

impl Layout<'_> {
    /// Goes through an index, and the indexes in it.
    fn search(&self, index: &ImageIndex, depth: usize, found: &mut Found) -> Result<(), Refusal> {
        // Those that lead to indexes count as well: few in each of many are many.
        found.descriptors += index.manifests().len();
        if found.descriptors > DESCRIPTORS_MAX {
            return Err(ImageError::TooManyDescriptors { count: found.descriptors }.into());
        }
        for descriptor in index.manifests() {
            let fits = descriptor.platform().as_ref().is_none_or(is_hosts);
            match descriptor.media_type() {
                MediaType::ImageManifest if fits => found.fitting.push(descriptor.clone()),
                MediaType::ImageIndex if fits && depth < INDEX_DEPTH_MAX => {
                    self.search(&self.document("an index in its index", descriptor)?, depth + 1, found)?;
                }
                MediaType::ImageIndex if fits => return Err(ImageError::TooDeep.into()),
                kind => found.others.push(descriptor.platform().as_ref().map_or_else(|| kind.to_string(), shown)),
            }
        }
        Ok(())
    }

    /// A document, under its digest.
    fn document<T: DeserializeOwned>(&self, what: &'static str, descriptor: &Descriptor) -> Result<T, Refusal> {
        if descriptor.size() > DOCUMENT_BYTES_MAX {
            return Err(ImageError::TooLarge { what, bytes: descriptor.size() }.into());
        }
        let mut bytes = Vec::new();
        self.blob(what, descriptor, |read| bytes.extend_from_slice(read))?;
        Ok(parse(what, &bytes)?)
    }

    fn layer(&self, descriptor: &Descriptor, diff: &str) -> Result<Layer, Refusal> {
        let compression = match descriptor.media_type() {
            MediaType::ImageLayer => Compression::None,
            MediaType::ImageLayerGzip => Compression::Gzip,
            MediaType::ImageLayerZstd => Compression::Zstd,
            other => return Err(ImageError::LayerKind(sentence(other)).into()),
        };
        let path = self.blob("a layer", descriptor, |_| ())?;
        let diff = diff.parse().map_err(|_| ImageError::Algorithm { digest: sentence(diff) })?;
        Ok(Layer { path, compression, diff_sha256: sha256_of(&diff)?.to_owned() })
    }

    /// Reads a blob to its end, and makes sure that it is the one its descriptor names; where it is.
    fn blob(
        &self,
        what: &'static str,
        descriptor: &Descriptor,
        mut hear: impl FnMut(&[u8]),
    ) -> Result<PathBuf, Refusal> {
        let (expected, size) = (sha256_of(descriptor.digest())?, descriptor.size());
        let path = self.root.join("blobs").join("sha256").join(expected);
        let unreadable = |source| ImageError::Io { path: path.clone(), source };
        // One byte more than it may have is enough to know.
        let mut file = File::open(&path).map_err(unreadable)?.take(size.saturating_add(1));
        let (mut hasher, mut actual, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
        loop {
            self.deadline.check()?;
            let count = file.read(&mut buffer).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            actual += count as u64;
            if actual > size {
                break;
            }
            hasher.update(&buffer[..count]);
            hear(&buffer[..count]);
        }
        if actual != size {
            let length = ImageError::Length { what, digest: expected.to_owned(), actual, expected: size };
            return Err(length.into());
        }
        let actual = hex::encode(hasher.finalize());
        match actual == expected {
            true => Ok(path),
            false => Err(ImageError::Digest { what, expected: expected.to_owned(), actual }.into()),
        }
    }
}

fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::Document { what, problem: sentence(error) })
}

/// The hexadecimal digits of a SHA-256 digest: 64 of them, which the parser has made sure of. They become a name.
fn sha256_of(digest: &oci_spec::image::Digest) -> Result<&str, ImageError> {
    match digest.algorithm() {
        DigestAlgorithm::Sha256 => Ok(digest.digest()),
        _ => Err(ImageError::Algorithm { digest: sentence(digest) }),
    }
}

/// What this host is, in the words of images.
fn host_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "x86" => Arch::i386,
        "aarch64" => Arch::ARM64,
        "arm" => Arch::ARM,
        "riscv64" => Arch::RISCV64,
        "powerpc64" => Arch::PowerPC64le,
        "s390x" => Arch::s390x,
        "loongarch64" => Arch::LoongArch64,
        other => Arch::Other(other.to_owned()),
    };
    let mut platform = Platform::default();
    platform.set_architecture(architecture).set_os(Os::Linux);
    platform
}

/// Variants of an architecture are the kernel's to refuse: it starts no program that it cannot run.
fn is_hosts(platform: &Platform) -> bool {
    let host = host_platform();
    (platform.architecture(), platform.os()) == (host.architecture(), host.os())
}

fn shown(platform: &Platform) -> String {
    format!("{}/{}", platform.os(), platform.architecture())
}
