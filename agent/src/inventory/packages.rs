//! What is installed: by dpkg's database, by rpm's, and by this agent's own record.

use super::{Troubles, fact};
use crate::config::{self, Config};
use crate::data::DataDir;
use crate::installer::tool::ToolError;
use crate::installer::{installs, rpm};
use crate::package_database::{self, Paragraph};
use ledger::inventory::{Fact, Package, Source};
use std::io;
use std::path::Path;

/// What dpkg says of a package that is there as it should be: that is not said again.
const INSTALLED: &str = "install ok installed";

pub(super) fn look(config: &Config, what: &config::Inventory, troubles: &mut Troubles) -> Vec<Package> {
    let mut all = troubles.see("dpkg", of_dpkg(&what.root));
    let rpm = config::Rpm { root: what.root.clone(), ..config.installers.rpm.clone() };
    all.extend(troubles.see("rpm", of_rpm(&rpm)));
    all.extend(of_agent(config, troubles));
    all
}

fn of_dpkg(root: &Path) -> io::Result<Vec<Package>> {
    let mut all = Vec::new();
    package_database::each_of_host(root, |paragraph| all.extend(package(paragraph)))?;
    Ok(all)
}

/// Something of a package is there: more than its configuration.
fn package(Paragraph { package, architecture, version, status }: Paragraph) -> Option<Package> {
    let status = status.unwrap_or_else(|| INSTALLED.to_owned());
    let is_gone = status.ends_with(" not-installed") || status.ends_with(" config-files");
    let detail = if status == INSTALLED { Fact::default() } else { fact(&status) };
    let (name, version) = (package.filter(|_| !is_gone)?, version?);
    let variant = fact(&architecture.unwrap_or_default());
    Some(Package { source: Source::Dpkg, name: fact(&name), variant, version: fact(&version), detail })
}

fn of_rpm(config: &config::Rpm) -> Result<Vec<Package>, ToolError> {
    let listing = rpm::listing(config)?.unwrap_or_default();
    let package = |line: &str| {
        let [name, variant, version] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
        let [name, variant, version] = [name, variant, version].map(fact);
        Some(Package { source: Source::Rpm, name, variant, version, detail: Fact::default() })
    };
    Ok(String::from_utf8_lossy(&listing).lines().filter_map(package).collect())
}

/// What this agent installed, as trees, packages, file sets, images, containers and scripts.
fn of_agent(config: &Config, troubles: &mut Troubles) -> Vec<Package> {
    let installs = DataDir::at(config.data_dir.clone()).installs();
    let mut all = Vec::new();
    for (of, found) in troubles.see("installed by the agent", installs::each(&installs)) {
        let policy::Subscription { product, channel } = of;
        let Some(installs::InstalledTree { meta, .. }) = troubles.see(&format!("{product} {channel}"), found) else {
            continue;
        };
        let by = meta.patch.map_or("baseline".to_owned(), |patch| format!("patch {patch}"));
        all.push(Package {
            source: Source::Agent,
            name: fact(product.as_str()),
            variant: fact(channel.as_str()),
            version: fact(meta.version.as_str()),
            detail: fact(&format!("{}, {by}", policy::kind_words(meta.kind))),
        });
    }
    all
}
