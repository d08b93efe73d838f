//! What the host is made of, as the kernel shows it: processors, memory, disks, and who made it.

use super::{Troubles, bounded, fact};
use crate::files;
use ledger::inventory::{Disk, Hardware};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

/// Bytes of `cpuinfo` looked at: those of a host with a thousand processors.
const PROCESSORS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a file in which the kernel has one value.
const VALUE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a sector, in which sysfs counts whatever the disk does.
const SECTOR_BYTES: u64 = 512;

pub(super) fn look(root: &Path, troubles: &mut Troubles) -> Hardware {
    let (processor, processors) = troubles.see("processors", processors(&root.join("proc/cpuinfo")));
    let memory = rustix::system::sysinfo();
    let disks = troubles.see("disks", disks(&root.join("sys/block")));
    let dmi = |name: &str| value(&root.join("sys/class/dmi/id").join(name));
    let model = match dmi("product_name") {
        model if model.is_empty() => value(&root.join("proc/device-tree/model")),
        model => model,
    };
    Hardware {
        vendor: fact(&dmi("sys_vendor")),
        model: fact(&model),
        processor: fact(&processor),
        processors,
        memory_mib: (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit)) >> 20,
        disks: bounded(disks, &mut 0),
    }
}

/// A file of one value; nothing where there is none, or it is not for this user to read.
fn value(path: &Path) -> String {
    let bytes = files::read(path, VALUE_BYTES_MAX).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned()
}

/// What the processors are called, and how many there are.
fn processors(path: &Path) -> io::Result<(String, u32)> {
    let (mut name, mut count) = (String::new(), 0);
    for line in BufReader::new(File::open(path)?.take(PROCESSORS_BYTES_MAX)).lines() {
        let line = line?;
        let Some((key, value)) = line.split_once(':') else { continue };
        match key.trim() {
            "processor" => count += 1,
            "model name" | "Model" | "cpu model" if name.is_empty() => value.trim().clone_into(&mut name),
            _ => {}
        }
    }
    Ok((name, count))
}

/// Disks that stay: behind a device, and not to be taken out.
fn disks(all: &Path) -> Result<Vec<Disk>, files::FileError> {
    let disk = |name: String| {
        let place = all.join(&name);
        let stays = place.join("device").exists() && value(&place.join("removable")) != "1";
        let sectors: u64 = value(&place.join("size")).parse().ok().filter(|sectors| *sectors > 0)?;
        let model = fact(&value(&place.join("device/model")));
        stays.then(|| Disk { name: fact(&name), model, bytes: sectors.saturating_mul(SECTOR_BYTES) })
    };
    Ok(files::names(all)?.into_iter().filter_map(disk).collect())
}
