//! What became another thing between two inventories: line by line, for people.

use super::Inventory;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// One thing that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which: `package dpkg curl amd64`, `kernel`.
    pub what: String,
    /// What it was; nothing where it was not there.
    pub before: Option<String>,
    /// What it is; nothing where it is not there any more.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, before, after } = self;
        // What is told by its name alone has no more words.
        let worded = |words: &str| if words.is_empty() { String::new() } else { format!(" {words}") };
        match (before, after) {
            (None, Some(after)) => write!(f, "+ {what}{}", worded(after)),
            (Some(before), None) => write!(f, "- {what}{}", worded(before)),
            (before, after) => {
                let shown = |side: &Option<String>| match side.as_deref() {
                    None | Some("") => "nothing".to_owned(),
                    Some(words) => words.to_owned(),
                };
                write!(f, "~ {what} {} → {}", shown(before), shown(after))
            }
        }
    }
}

/// What is not in the second inventory as it was in the first, in the order of names.
#[must_use]
pub fn changes(before: &Inventory, after: &Inventory) -> Vec<Change> {
    let (mut before, after) = (lines(before), lines(after));
    let mut all: BTreeMap<String, Change> = BTreeMap::new();
    for (what, is) in after {
        let was = before.remove(&what);
        if was.as_ref() != Some(&is) {
            all.insert(what.clone(), Change { what, before: was, after: Some(is) });
        }
    }
    for (what, was) in before {
        all.insert(what.clone(), Change { what, before: Some(was), after: None });
    }
    all.into_values().collect()
}

/// Everything in an inventory, each thing by a name that it alone has, with what is said of it.
fn lines(of: &Inventory) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    // Of what is there several times, kernels for one, all versions are one thing.
    let mut put = |what: String, words: String| match lines.entry(what) {
        Entry::Vacant(vacant) => drop(vacant.insert(words)),
        Entry::Occupied(mut there) => {
            let there: &mut String = there.get_mut();
            there.push_str(", ");
            there.push_str(&words);
        }
    };
    let (system, hardware) = (&of.system, &of.hardware);
    for (what, words) in [
        ("host", &system.host),
        ("os", &system.os),
        ("os version", &system.os_version),
        ("os name", &system.os_name),
        ("kernel", &system.kernel),
        ("kernel build", &system.kernel_build),
        ("architecture", &system.architecture),
        ("vendor", &hardware.vendor),
        ("model", &hardware.model),
        ("processor", &hardware.processor),
    ] {
        put(what.to_owned(), words.to_string());
    }
    put("processors".to_owned(), hardware.processors.to_string());
    put("memory".to_owned(), format!("{} MiB", hardware.memory_mib));
    put("left out".to_owned(), of.left_out.to_string());
    for disk in hardware.disks.iter() {
        put(format!("disk {}", disk.name), format!("{} bytes, {}", disk.bytes, disk.model));
    }
    for package in of.packages.iter() {
        let detail = if package.detail.as_str().is_empty() { String::new() } else { format!(" ({})", package.detail) };
        let what = format!("package {} {} {}", package.source, package.name, package.variant);
        put(what, format!("{}{detail}", package.version));
    }
    for service in of.services.iter() {
        put(format!("service {} {}", service.manager, service.name), service.state.to_string());
    }
    for address in of.addresses.iter() {
        put(format!("address {} {}", address.interface, address.address), String::new());
    }
    for unread in of.unread.iter() {
        put(format!("unread {}", unread.what), unread.why.to_string());
    }
    lines
}
