//! Inventories: what names one, who may say it is his, and who may read it.

use ledger::bounded::SortedList;
use ledger::encoding::{decode, encode};
use ledger::id::{ChainId, Digest};
use ledger::inventory::{
    Address, Change, Disk, Fact, Hardware, INVENTORY_VERSION, Inventory, InventoryRead, InventoryReport, Manager,
    Package, Readings, Service, SignedInventoryRead, SignedInventoryReport, Source, System, Unhealthy, Unread, changes,
};
use ledger::key::{PublicKey, SecretKey};
use ledger::limits;

const CHAIN: ChainId = ChainId([7; 32]);
const NODE: PublicKey = PublicKey([9; 32]);
const NOW_MS: u64 = 1_700_000_000_000;

fn fact(text: &str) -> Fact {
    Fact::new(text).unwrap()
}

fn host() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn package(source: Source, name: &str, variant: &str, version: &str, detail: &str) -> Package {
    let [name, variant, version, detail] = [name, variant, version, detail].map(fact);
    Package { source, name, variant, version, detail }
}

/// The one of the vectors: something of everything.
pub(crate) fn example() -> Inventory {
    let by_patch = format!("directory-tree patch {}", Digest([5; 32]));
    let service = |manager, name, state| Service { manager, name: fact(name), state: fact(state) };
    let address = |interface, address| Address { interface: fact(interface), address: fact(address) };
    Inventory {
        version: INVENTORY_VERSION,
        system: System {
            host: fact("edge-1"),
            os: fact("debian"),
            os_version: fact("12"),
            os_name: fact("Debian GNU/Linux 12 (bookworm)"),
            kernel: fact("6.1.0-21-amd64"),
            kernel_build: fact("#1 SMP PREEMPT_DYNAMIC Debian 6.1.90-1 (2024-05-03)"),
            architecture: fact("x86_64"),
        },
        hardware: Hardware {
            vendor: fact("QEMU"),
            model: fact("Standard PC"),
            processor: fact("Some Processor 9000"),
            processors: 4,
            memory_mib: 3_915,
            disks: SortedList::new(vec![Disk { name: fact("vda"), model: fact(""), bytes: 21_474_836_480 }]).unwrap(),
        },
        packages: SortedList::new(vec![
            package(Source::Dpkg, "curl", "amd64", "7.88.1-10+deb12u5", ""),
            package(Source::Dpkg, "libcurl4", "amd64", "7.88.1-10+deb12u5", "hold ok installed"),
            package(Source::Rpm, "kernel", "x86_64", "5.14.0-1", ""),
            package(Source::Rpm, "kernel", "x86_64", "5.14.0-2", ""),
            package(Source::Agent, "acme/valkey", "stable", "8.0.2", &by_patch),
        ])
        .unwrap(),
        services: SortedList::new(vec![
            service(Manager::Systemd, "cron.service", "enabled"),
            service(Manager::Agent, "valkey", "acme/valkey stable"),
        ])
        .unwrap(),
        addresses: SortedList::new(vec![address("eth0", "192.0.2.7"), address("eth0", "2001:db8::7")]).unwrap(),
        left_out: 0,
        unread: SortedList::new(vec![Unread { what: fact("disks"), why: fact("no such directory") }]).unwrap(),
    }
}

fn readings() -> Readings {
    Readings {
        booted_at_ms: NOW_MS - 5_000,
        uptime_ms: 5_000,
        memory_free_mib: 2_000,
        disk_free_mib: 9_000,
        services_running: 17,
        services_failed: SortedList::new(vec![fact("fstrim.service")]).unwrap(),
        unhealthy: SortedList::new(vec![Unhealthy {
            product: fact("acme/valkey"),
            channel: fact("stable"),
            since_ms: NOW_MS - 1_000,
            why: fact("service valkey: ended by signal 9"),
        }])
        .unwrap(),
        unhealthy_left_out: 0,
        watched_every_ms: 60_000,
        again_within_ms: 8_640_000,
    }
}

/// The one of the vectors.
pub(crate) fn report(chain_id: ChainId, key: &SecretKey) -> SignedInventoryReport {
    let inventory = example().digest();
    InventoryReport { chain_id, endpoint: PublicKey([0; 32]), at_ms: NOW_MS, inventory, readings: readings() }.sign(key)
}

/// The one of the vectors.
pub(crate) fn read(chain_id: ChainId, key: &SecretKey) -> SignedInventoryRead {
    let (reader, endpoint) = (PublicKey([0; 32]), Some(host().public()));
    InventoryRead { chain_id, reader, node: NODE, endpoint, expires_at_ms: NOW_MS + 60_000 }.sign(key)
}

#[test]
fn an_inventory_is_what_its_digest_says_and_nothing_else() {
    let (inventory, bytes) = (example(), encode(&example()));
    let digest = inventory.digest();
    assert_eq!(digest, Digest::blake3(&bytes));
    assert_eq!(Inventory::of_bytes(&bytes, digest).unwrap(), inventory);
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        assert_eq!(Inventory::of_bytes(&altered, digest).unwrap_err().check(), "inventory", "byte {place}");
    }
    let other = encode(&Inventory { version: 2, ..inventory });
    assert_eq!(Inventory::of_bytes(&other, Digest::blake3(&other)).unwrap_err().check(), "version");
    let no_inventory = b"no inventory";
    assert_eq!(Inventory::of_bytes(no_inventory, Digest::blake3(no_inventory)).unwrap_err().check(), "malformed");
    let too_long = vec![0; limits::INVENTORY_BYTES_MAX + 1];
    assert_eq!(Inventory::of_bytes(&too_long, Digest::blake3(&too_long)).unwrap_err().check(), "size");
}

#[test]
fn a_report_holds_for_its_ledger_its_key_and_a_few_minutes() {
    let signed = report(CHAIN, &host());
    assert_eq!(signed.check(&CHAIN, NOW_MS).unwrap().endpoint, host().public());
    let last_ms = NOW_MS + limits::INVENTORY_REPORT_MS_MAX;
    let first_ms = NOW_MS - limits::INVENTORY_AHEAD_MS_MAX;
    assert!(signed.check(&CHAIN, last_ms - 1).is_ok() && signed.check(&CHAIN, first_ms).is_ok());
    for (refused, word) in [
        (signed.check(&ChainId([8; 32]), NOW_MS), "chain-id"),
        (signed.check(&CHAIN, last_ms), "expired"),
        (signed.check(&CHAIN, first_ms - 1), "clock-ahead"),
    ] {
        assert_eq!(refused.unwrap_err().check(), word);
    }
    // Long ago it was said all the same.
    assert!(signed.said_by_its_endpoint(&CHAIN).is_ok());
    let bytes = encode(&signed);
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        let judged = decode::<SignedInventoryReport>(&altered).map(|signed| signed.check(&CHAIN, NOW_MS).is_ok());
        assert_ne!(judged, Ok(true), "byte {place}");
    }
}

#[test]
fn leave_to_read_is_asked_of_one_node_and_lasts_a_few_minutes() {
    let operator = SecretKey::from_seed(&[3; 32]);
    let signed = read(CHAIN, &operator);
    assert_eq!(signed.check(&CHAIN, &NODE, NOW_MS).unwrap().reader, operator.public());
    for (refused, word) in [
        (signed.check(&ChainId([8; 32]), &NODE, NOW_MS), "chain-id"),
        (signed.check(&CHAIN, &PublicKey([8; 32]), NOW_MS), "node"),
        (signed.check(&CHAIN, &NODE, NOW_MS + 60_000), "expired"),
        (signed.check(&CHAIN, &NODE, NOW_MS + 59_999 - limits::INVENTORY_READ_MS_MAX), "expires-too-late"),
    ] {
        assert_eq!(refused.unwrap_err().check(), word);
    }
    let bytes = encode(&signed);
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        let judged = decode::<SignedInventoryRead>(&altered).map(|signed| signed.check(&CHAIN, &NODE, NOW_MS).is_ok());
        assert_ne!(judged, Ok(true), "byte {place}");
    }
}

#[test]
fn what_changed_is_told_thing_by_thing() {
    let (before, mut after) = (example(), example());
    assert!(changes(&before, &after).is_empty());
    after.system.kernel = fact("6.1.0-22-amd64");
    let mut packages = after.packages.into_vec();
    packages.retain(|package| package.name.as_str() != "libcurl4" && package.version.as_str() != "5.14.0-1");
    packages[0].version = fact("7.88.1-10+deb12u6");
    packages.push(package(Source::Dpkg, "jq", "amd64", "1.6-2.1", ""));
    after.packages = SortedList::new(packages).unwrap();
    after.addresses = SortedList::default();
    let all = changes(&before, &after);
    let told: Vec<_> = all.iter().map(Change::to_string).collect();
    assert_eq!(
        told,
        [
            "- address eth0 192.0.2.7",
            "- address eth0 2001:db8::7",
            "~ kernel 6.1.0-21-amd64 → 6.1.0-22-amd64",
            "~ package dpkg curl amd64 7.88.1-10+deb12u5 → 7.88.1-10+deb12u6",
            "+ package dpkg jq amd64 1.6-2.1",
            "- package dpkg libcurl4 amd64 7.88.1-10+deb12u5 (hold ok installed)",
            "~ package rpm kernel x86_64 5.14.0-1, 5.14.0-2 → 5.14.0-2",
        ]
    );
    // The other way round it is the same, the other way round.
    let back = changes(&after, &before);
    let turned = |change: &Change| (change.what.clone(), change.after.clone(), change.before.clone());
    let there = |change: &Change| (change.what.clone(), change.before.clone(), change.after.clone());
    assert_eq!(back.iter().map(turned).collect::<Vec<_>>(), all.iter().map(there).collect::<Vec<_>>());
}
