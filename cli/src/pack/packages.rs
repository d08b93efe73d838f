//! Packing packages as they are, for hosts that have `dpkg` or `rpm`: one artifact per package, nothing
//! merged, nothing unpacked.

use super::debian::{self, Package};
use super::error::PackError;
use super::limits::Limits;
use super::output::Staging;
use super::{Deltas, Packed, check_package, check_places, deltas, rpm};
use ledger::artifact::PayloadDigests;
use ledger::bounded::Name;
use ledger::patch::{GO_BACK_PREFIX, PatchManifest};
use std::path::{Path, PathBuf};

/// What packages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageFormat {
    /// `.deb`.
    Debian,
    /// `.rpm`.
    Rpm,
}

impl PackageFormat {
    fn extension(self) -> &'static str {
        match self {
            Self::Debian => "deb",
            Self::Rpm => "rpm",
        }
    }

    fn identify(self, input: &Path, limits: &Limits) -> Result<Package, PackError> {
        let (is_one, called) = match self {
            Self::Debian => (debian::is_package_file(input)?, "Debian"),
            Self::Rpm => (rpm::is_package_file(input)?, "RPM"),
        };
        match (is_one, self) {
            (false, _) => Err(PackError::Inputs(format!("{} is no {called} package", input.display()))),
            (true, Self::Debian) => debian::identify(input, limits),
            (true, Self::Rpm) => rpm::identify(input),
        }
    }
}

/// Packs packages to install, and packages to go back to, into `out`, which must not be there yet, with deltas
/// beside them.
///
/// # Errors
/// [`PackError`] names the package and what is wrong with it; nothing is left behind then.
pub fn pack_packages(
    new: &[PathBuf],
    old: &[PathBuf],
    out: &Path,
    format: PackageFormat,
    limits: Limits,
    beside: Deltas<'_>,
    describe: impl FnOnce(Vec<(Name, PayloadDigests)>) -> Result<PatchManifest, PackError>,
) -> Result<Packed, PackError> {
    let all: Vec<PathBuf> = new.iter().chain(old).cloned().collect();
    check_places(&all, out)?;
    let staging = Staging::begin(out)?;
    let (mut artifacts, mut packages) = (Vec::new(), Vec::new());
    take(&staging, new, (format, new_name), &limits, &mut artifacts, &mut packages)?;
    let mut before = Vec::new();
    take(&staging, old, (format, old_name), &limits, &mut artifacts, &mut before)?;
    if let Some(same) = before.iter().find(|package| packages.contains(package)) {
        let detail = format!("package {} {} is to be installed and to go back to", same.name, same.version);
        return Err(PackError::Inputs(detail));
    }
    // In whatever order they are given.
    artifacts.sort_by(|(a, _), (b, _)| a.cmp(b));
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let manifest = deltas::add(&staging, describe(artifacts)?, beside)?;
    staging.finish(&manifest)?;
    Ok(Packed { manifest, entries: 0, tree_bytes: 0, packages })
}

/// What comes before the name of a package to install that would otherwise say that it is there to go back to.
const NEW_PREFIX: &str = "new-";

/// What a package to install is called within the patch: a package may be called `old-fonts`, and no two are
/// called alike.
fn new_name(package: &str) -> String {
    let is_misleading = [GO_BACK_PREFIX, NEW_PREFIX].iter().any(|prefix| package.starts_with(prefix));
    format!("{}{package}", if is_misleading { NEW_PREFIX } else { "" })
}

/// What a package to go back to is called.
fn old_name(package: &str) -> String {
    format!("{GO_BACK_PREFIX}{package}")
}

fn take(
    staging: &Staging,
    inputs: &[PathBuf],
    (format, called): (PackageFormat, fn(&str) -> String),
    limits: &Limits,
    artifacts: &mut Vec<(Name, PayloadDigests)>,
    packages: &mut Vec<Package>,
) -> Result<(), PackError> {
    for input in inputs {
        let package = format.identify(input, limits)?;
        check_package(input, &package, packages)?;
        let name = Name::new(format!("{}.{}", called(&package.name), format.extension()));
        let name = name.map_err(|error| PackError::Bound { field: "artifact".to_owned(), error })?;
        artifacts.push((name, staging.copy_artifact(input)?));
        packages.push(package);
    }
    Ok(())
}
