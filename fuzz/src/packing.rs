//! What people give to the command line: archives and packages to be packed, patches that were packed, descriptions, and
//! words.

use crate::archives::{PLACE, repair};
use crate::doors::{Carried, is_made_inert};
use crate::memory::peak_of;
use crate::places::{directory, path, written};
use crate::story;
use agent::installer::archive;
use agent::installer::unpack;
use cli::genesis_spec;
use cli::pack::manifest::{parse_command, parse_label, parse_port, parse_relation, parse_target};
use cli::pack::{
    ARTIFACTS_DIRECTORY, Deltas, Limits, MANIFEST_FILE, PackError, PackageFormat, Shape, pack, pack_packages,
    read_packed,
};
use cli::proposal_spec;
use cli::time::{parse_duration, parse_milliseconds, parse_moment, show, show_duration};
use cli::trust::Trust;
use ledger::artifact::PayloadDigests;
use ledger::bounded::{List, Name, Product, Version};
use ledger::encoding::{decode, encode};
use ledger::genesis::Genesis;
use ledger::governance::Proposal;
use ledger::id::Digest;
use ledger::patch::{Artifact, InstallerKind, PatchManifest, PayloadEncoding};
use ledger::transaction::Payload;
use std::fs::{self, File};
use std::path::Path;

/// Small, so that they are met.
const LIMITS: Limits =
    Limits { tree_bytes_max: 16 * 1024, entries_max: 48, ratio_max: 20, ratio_free_bytes: 64 * 1024 };
/// What a host takes of it: directories that were not named are entries, too.
const HOST_LIMITS: unpack::Limits =
    unpack::Limits { entries_max: 512, entry_bytes_max: 16 * 1024, tree_bytes_max: 32 * 1024 };
/// Memory for packing whatever it is: what xz and zstd decompress with, and what is known of the entries.
const PACK_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Memory for a description, a manifest, a word.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What time it is.
const NOW_MS: u64 = 1_767_225_600_000;

/// A manifest that a vendor could have described.
pub fn manifest() -> PatchManifest {
    let mut publications =
        story::get().transactions.iter().filter_map(|proven| match &proven.transaction.transaction.payload {
            Payload::Publish { manifest } => Some(manifest.clone()),
            _ => None,
        });
    publications.next().expect("the story has a patch")
}

fn artifact(name: &str, PayloadDigests { size, blake3, sha256 }: PayloadDigests) -> Artifact {
    let name = Name::new(name).expect("a name");
    Artifact { name, size, blake3, sha256, encoding: PayloadEncoding::Identity, delta_from: None }
}

/// The first byte says what it is packed as, the second whether checksums of archives are made to fit. What is packed, is
/// read back, and a host unpacks it; and packed once more it is the same.
pub fn pack_input(bytes: &[u8]) {
    let [how, repaired, input @ ..] = bytes else { return };
    let mut input = input.to_vec();
    if repaired & 1 == 1 {
        repair_all(&mut input);
    }
    let input = written("input", &input);
    let refused = |refusal: PackError| is_made_inert(&refusal.to_string());
    match how % 6 {
        4 => identify(&input, PackageFormat::Debian),
        5 => identify(&input, PackageFormat::Rpm),
        how => {
            let shape = [Shape::Tree, Shape::FileSet, Shape::Container, Shape::Script][usize::from(how)];
            let (packed, taken) = peak_of(|| pack_as(shape, &input, "packed"));
            assert!(taken <= PACK_BYTES_MAX, "{taken} bytes of memory");
            match packed {
                Ok(manifest) => {
                    assert_eq!(pack_as(shape, &input, "again").ok().as_ref(), Some(&manifest), "two packings differ");
                    unpacks(&path("packed"), &manifest);
                }
                Err(refusal) => refused(refusal),
            }
        }
    }
}

fn pack_as(shape: Shape, input: &Path, out: &str) -> Result<PatchManifest, PackError> {
    let out = path(out);
    fs::remove_dir_all(&out).unwrap_or_default();
    let describe = |digests| {
        let artifacts = List::new(vec![artifact("tree.tar", digests)]).expect("one is within the bound");
        Ok(PatchManifest { artifacts, installer: InstallerKind::DirectoryTree, ..manifest() })
    };
    let packed = pack(&[input.to_owned()], &out, LIMITS, shape, Deltas::default(), describe);
    assert!(packed.is_ok() || !out.exists(), "something is left behind");
    packed.map(|packed| packed.manifest)
}

/// A host takes what was packed.
fn unpacks(packed: &Path, manifest: &PatchManifest) {
    let read = read_packed(packed).expect("what was packed is read back");
    assert_eq!(&read.manifest, manifest);
    let blake3 = manifest.artifacts.iter().next().expect("there is one artifact").blake3;
    let file = File::open(packed.join(ARTIFACTS_DIRECTORY).join(blake3.to_string())).expect("it is there");
    PLACE.with(|place| {
        fs::create_dir(&place.tree).expect("a directory can be made");
        let done = archive::unpack(file, &place.tree, HOST_LIMITS);
        assert!(done.is_ok(), "what is packed no host unpacks: {done:?}");
        place.is_untouched();
        fs::remove_dir_all(&place.tree).expect("the owner can clean up");
    });
}

/// What packages say they are, as far as a name for them: nothing is described here.
fn identify(input: &Path, format: PackageFormat) {
    let out = path("packed");
    fs::remove_dir_all(&out).unwrap_or_default();
    let enough = |packages: Vec<(Name, PayloadDigests)>| {
        let [(name, _)] = &packages[..] else { panic!("{} packages", packages.len()) };
        Err(PackError::Inputs(format!("{name} is not described here")))
    };
    let (packed, taken) =
        peak_of(|| pack_packages(&[input.to_owned()], &[], &out, format, LIMITS, Deltas::default(), enough).map(drop));
    assert!(taken <= PACK_BYTES_MAX, "{taken} bytes of memory");
    assert!(!out.exists(), "something is left behind");
    is_made_inert(&packed.expect_err("nothing is described").to_string());
}

/// Makes the checksums of headers of archives fit, wherever one begins: a package has two in it.
fn repair_all(file: &mut [u8]) {
    let marks: Vec<usize> =
        file.windows(5).enumerate().filter(|(_, five)| *five == b"ustar").map(|(at, _)| at).collect();
    for begins in marks.iter().filter_map(|mark| mark.checked_sub(257)) {
        if let Some(header) = file.get_mut(begins..begins + 512) {
            repair(header);
        }
    }
}

/// The artifact that is there.
const ARTIFACT: &[u8] = b"An artifact.";

/// A directory with a manifest, and the artifact that an honest one names.
pub fn read_packed_patch(bytes: &[u8]) {
    let packed = directory("patch");
    let artifacts = packed.join(ARTIFACTS_DIRECTORY);
    fs::create_dir_all(&artifacts).expect("a directory can be made");
    fs::write(artifacts.join(Digest::blake3(ARTIFACT).to_string()), ARTIFACT).expect("a file can be written");
    fs::write(packed.join(MANIFEST_FILE), bytes).expect("a file can be written");
    let (read, taken) = peak_of(|| read_packed(&packed));
    assert!(taken <= TEXT_BYTES_MAX, "{taken} bytes of memory");
    match read {
        Ok(patch) => {
            assert_eq!(decode::<PatchManifest>(&encode(&patch.manifest)).as_ref(), Ok(&patch.manifest));
            assert!(patch.manifest.artifacts.iter().all(|artifact| artifact.blake3 == Digest::blake3(ARTIFACT)));
            let meant: serde_json::Value = serde_json::to_value(&patch.manifest).expect("it is written into memory");
            assert_eq!(serde_json::from_slice::<serde_json::Value>(bytes).ok(), Some(meant), "more than is signed");
        }
        Err(refusal) => is_made_inert(&refusal.to_string()),
    }
}

/// An honest one.
pub fn honest_manifest() -> Vec<u8> {
    let sha256 = Digest(<sha2::Sha256 as sha2::Digest>::digest(ARTIFACT).into());
    let digests = PayloadDigests { size: ARTIFACT.len() as u64, blake3: Digest::blake3(ARTIFACT), sha256 };
    let artifacts = List::new(vec![artifact("tree.tar", digests)]).expect("one is within the bound");
    serde_json::to_vec_pretty(&PatchManifest { artifacts, ..manifest() }).expect("it is written into memory")
}

/// The first byte says whether a new ledger is described, or a change of one. What is made of it others read.
pub fn read_description(bytes: &[u8]) {
    let Some((which, text)) = bytes.split_first() else { return };
    let at = written("description.toml", text);
    let (refusal, taken) = peak_of(|| match which & 1 {
        0 => genesis_spec::build(&at).map(|block| {
            let read = Genesis::parse(&block.genesis.bytes()).expect("a genesis file that is made is one");
            assert_eq!(read.chain_id, block.chain_id);
        }),
        _ => {
            let trust = Trust::parse(story::get().genesis.clone()).expect("the story's genesis is one");
            proposal_spec::read(&at, &trust, NOW_MS).map(|proposal| {
                assert_eq!(decode::<Proposal>(&encode(&proposal)).as_ref(), Ok(&proposal));
                assert!(proposal.closes_at_ms > NOW_MS);
            })
        }
    });
    assert!(taken <= TEXT_BYTES_MAX, "{taken} bytes of memory");
    if let Err(refusal) = refusal {
        is_made_inert(&refusal.to_string());
    }
}

/// The first byte says what the rest is to be. What has a way of writing is written so and read again.
pub fn parse_words(bytes: &[u8]) {
    let Some((which, text)) = bytes.split_first() else { return };
    let text = &*String::from_utf8_lossy(text);
    let ((), taken) = peak_of(|| match which % 12 {
        0 => drop(parse_target(text).map(|target| assert_eq!(decode(&encode(&target)), Ok(Carried(target))))),
        1 => {
            if let Ok(words) = parse_command(text) {
                let quoted = words.iter().map(|word| {
                    let parts = word.as_str().split('\'').map(|part| format!("'{part}'"));
                    parts.collect::<Vec<_>>().join("\"'\"")
                });
                let quoted = quoted.collect::<Vec<_>>().join(" ");
                assert_eq!(parse_command(&quoted).as_ref(), Ok(&words), "{quoted}");
            }
        }
        2 => drop(parse_port(text).map(|port| assert_eq!(port.as_str(), text))),
        3 => drop(parse_label(text).map(|label| {
            let again = format!("{}={}", label.key, label.value);
            assert_eq!(parse_label(&again), Ok(label));
        })),
        4 => drop(parse_relation(text).map(|relation| {
            let again = format!("{}={}..{}", relation.product, relation.release_min, relation.release_max);
            assert_eq!(parse_relation(&again), Ok(relation));
        })),
        5 => drop(
            parse_moment(text)
                .map(|moment| assert!(parse_moment(&show(moment)) == Ok(moment) || show(moment).ends_with(" ms"))),
        ),
        6 => drop(
            parse_duration(text).map(|duration| assert_eq!(parse_duration(&show_duration(duration)), Ok(duration))),
        ),
        7 => drop(parse_milliseconds(text)),
        8 => drop(Name::new(text).map(|name| assert!(name.as_str() == text && !text.contains(['/', ' ', '\n', '\0'])))),
        9 => drop(Product::new(text).map(|product| {
            assert_eq!(format!("{}/{}", product.namespace(), product.name()), text);
        })),
        10 => drop(Version::new(text).map(|version| assert_eq!(version.as_str(), text))),
        _ => drop(text.parse::<Digest>().map(|digest| assert_eq!(digest.to_string(), text.to_ascii_lowercase()))),
    });
    assert!(taken <= TEXT_BYTES_MAX, "{taken} bytes of memory");
}
