use super::*;
use ledger::bounded::SortedList;
use ledger::id::ChainId;
use ledger::inventory::{
    Fact, Hardware, INVENTORY_VERSION, InventoryReport, Package, Readings, Source, System, Unhealthy,
};
use ledger::key::SecretKey;
use ledger::limits::{FACT_BYTES_MAX, READINGS_FAILED_MAX, READINGS_UNHEALTHY_MAX};
use tempfile::TempDir;

const NOW_MS: u64 = 1_700_000_000_000;
/// A disk is as full as it is: nothing is left free of it here.
const WHOLE_DISK: ArtifactLimits =
    ArtifactLimits { bytes_max: 0, per_organisation_bytes_max: 0, left_free_bytes_max: 0 };

/// A host with so many packages of this version.
fn host(packages: usize, version: &str) -> Inventory {
    let fact = |text: String| Fact::new(text).unwrap();
    let package = |number: usize| {
        // Names that no packing makes small.
        let name = fact(Digest::blake3(format!("{number} {version}").as_bytes()).to_string());
        let version = fact(version.to_owned());
        Package { source: Source::Dpkg, name, variant: fact("all".to_owned()), version, detail: Fact::default() }
    };
    Inventory {
        version: INVENTORY_VERSION,
        system: System { os_name: fact("Debian".to_owned()), ..System::default() },
        hardware: Hardware::default(),
        packages: SortedList::new((0..packages).map(package).collect()).unwrap(),
        services: SortedList::default(),
        addresses: SortedList::default(),
        left_out: 0,
        unread: SortedList::default(),
    }
}

struct Case {
    _directory: TempDir,
    inventories: Inventories,
    at_ms: u64,
}

impl Case {
    fn new(limits: InventoryLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let inventories = Inventories::open(directory.path().join("inventories"), limits, WHOLE_DISK).unwrap();
        Self { _directory: directory, inventories, at_ms: NOW_MS }
    }

    fn report(&mut self, endpoint: u8, inventory: &Inventory) -> SignedInventoryReport {
        self.at_ms += 1;
        let (chain_id, inventory) = (ChainId([7; 32]), inventory.digest());
        let endpoint_key = PublicKey([0; 32]);
        let report = InventoryReport {
            chain_id,
            endpoint: endpoint_key,
            at_ms: self.at_ms,
            inventory,
            readings: Readings::default(),
        };
        report.sign(&key(endpoint))
    }

    /// Says it as an agent does: by its digest first.
    fn says(&mut self, endpoint: u8, inventory: &Inventory) -> Result<Taken, NotTaken> {
        let signed = self.report(endpoint, inventory);
        match self.inventories.take(&signed, None, NOW_MS)? {
            Taken::Known => Ok(Taken::Known),
            Taken::Wanted { .. } => {
                let packed = packed::pack(&encode(inventory), &[]).unwrap();
                self.inventories.take(&signed, Some(Sent { packed: &packed, base: None }), NOW_MS)
            }
        }
    }

    fn history(&self, endpoint: u8) -> Vec<Digest> {
        self.inventories.of(key(endpoint).public()).unwrap().map_or(Vec::new(), |record| record.digests().collect())
    }

    /// What lies on the disk for an endpoint, the record apart.
    fn files(&self, endpoint: u8) -> usize {
        fs::read_dir(self.inventories.place(key(endpoint).public())).unwrap().count() - 1
    }
}

fn key(endpoint: u8) -> SecretKey {
    SecretKey::from_seed(&[endpoint; 32])
}

#[test]
fn what_is_known_is_taken_by_its_digest_and_what_is_not_is_wanted_on_what_is_here() {
    let mut case = Case::new(InventoryLimits::default());
    let (first, second) = (host(50, "1"), host(51, "1"));
    let signed = case.report(1, &first);
    assert_eq!(case.inventories.take(&signed, None, NOW_MS).unwrap(), Taken::Wanted { base: None });
    assert_eq!(case.inventories.of(key(1).public()).unwrap(), None, "nothing was taken note of");
    assert_eq!(case.says(1, &first).unwrap(), Taken::Known);
    let again = case.report(1, &first);
    assert_eq!(case.inventories.take(&again, None, NOW_MS).unwrap(), Taken::Known);
    // Whoever did not hear the answer asks again.
    assert_eq!(case.inventories.take(&again, None, NOW_MS).unwrap(), Taken::Known);

    let changed = case.report(1, &second);
    let base = Some(first.digest());
    assert_eq!(case.inventories.take(&changed, None, NOW_MS).unwrap(), Taken::Wanted { base });
    let packed = packed::pack(&encode(&second), &encode(&first)).unwrap();
    assert_eq!(case.inventories.take(&changed, Some(Sent { packed: &packed, base }), NOW_MS).unwrap(), Taken::Known);
    // On what is not here it cannot be unpacked: it is wanted on what is.
    let (third, nothing) = (host(52, "1"), Some(Digest::ZERO));
    let (report, packed) = (case.report(1, &third), packed::pack(&encode(&third), &encode(&first)).unwrap());
    let answer = case.inventories.take(&report, Some(Sent { packed: &packed, base: nothing }), NOW_MS).unwrap();
    assert_eq!(answer, Taken::Wanted { base: Some(second.digest()) });
    // What came back is here.
    let back = case.report(1, &first);
    assert_eq!(case.inventories.take(&back, None, NOW_MS).unwrap(), Taken::Known);
    assert_eq!(case.history(1), [first.digest(), second.digest(), first.digest()]);
    assert_eq!(case.files(1), 2);
    let there = case.inventories.packed(key(1).public(), second.digest()).unwrap().unwrap();
    assert_eq!(packed::unpack(&there, &[]).unwrap(), encode(&second));
}

#[test]
fn what_is_older_or_another_thing_is_refused_and_changes_nothing() {
    let mut case = Case::new(InventoryLimits::default());
    let (first, second) = (host(50, "1"), host(51, "1"));
    let old = case.report(1, &first);
    case.says(1, &second).unwrap();
    let before = case.inventories.of(key(1).public()).unwrap();
    let refused = case.inventories.take(&old, None, NOW_MS).unwrap_err();
    assert!(matches!(refused, NotTaken::Replayed { .. }), "{refused}");
    let report = case.report(1, &first);
    let other = packed::pack(&encode(&second), &[]).unwrap();
    let refused = case.inventories.take(&report, Some(Sent { packed: &other, base: None }), NOW_MS).unwrap_err();
    assert!(matches!(&refused, NotTaken::Inventory(error) if error.check() == "inventory"), "{refused}");
    let refused = case.inventories.take(&report, Some(Sent { packed: b"no", base: None }), NOW_MS).unwrap_err();
    assert!(matches!(refused, NotTaken::Packed(_)), "{refused}");
    assert_eq!(case.inventories.of(key(1).public()).unwrap(), before);
}

#[test]
fn history_is_bounded_by_number_and_by_bytes_and_the_newest_stays() {
    let of_number = InventoryLimits { history_max: 3, ..InventoryLimits::default() };
    let mut case = Case::new(of_number);
    let all: Vec<_> = (0..6).map(|number| host(20, &number.to_string())).collect();
    all.iter().for_each(|inventory| assert_eq!(case.says(1, inventory).unwrap(), Taken::Known));
    assert_eq!(case.history(1), all[3..].iter().map(Inventory::digest).collect::<Vec<_>>());
    assert_eq!(case.files(1), 3);

    let one = packed::pack(&encode(&host(200, "0")), &[]).unwrap().len() as u64;
    let of_bytes = InventoryLimits { per_endpoint_bytes_max: RECORD_BYTES + one * 5 / 2, ..InventoryLimits::default() };
    let mut case = Case::new(of_bytes);
    for number in 0..6 {
        case.says(1, &host(200, &number.to_string())).unwrap();
    }
    assert_eq!(case.history(1).len(), 2);
}

#[test]
fn all_endpoints_together_have_a_bound_and_nobody_loses_history_to_another() {
    let one = RECORD_BYTES + packed::pack(&encode(&host(200, "0")), &[]).unwrap().len() as u64;
    let limits = InventoryLimits { bytes_max: one * 5 / 2, ..InventoryLimits::default() };
    let mut case = Case::new(limits);
    case.says(1, &host(200, "0")).unwrap();
    case.says(2, &host(200, "0")).unwrap();
    let refused = case.says(3, &host(200, "0")).unwrap_err();
    assert!(matches!(refused, NotTaken::Full { .. }), "{refused}");
    // Whoever is there goes on, with less history when there is no room for it.
    for number in 1..9 {
        case.says(1, &host(200, &number.to_string())).unwrap();
    }
    assert_eq!(case.history(2), [host(200, "0").digest()]);
    assert_eq!(case.history(1).last(), Some(&host(200, "8").digest()));
    // What was counted is what is counted again.
    let (directory, counted) = (case.inventories.directory.clone(), *case.inventories.held());
    let again = Inventories::open(directory, limits, WHOLE_DISK).unwrap();
    assert_eq!(*again.held(), counted);
    assert!(counted <= limits.bytes_max);
}

#[test]
fn an_endpoint_has_one_turn_at_a_time() {
    let case = Case::new(InventoryLimits::default());
    let inventories = Arc::new(case.inventories);
    let turn = inventories.turn(key(1).public());
    assert!(
        turn.is_some() && inventories.turn(key(1).public()).is_none() && inventories.turn(key(2).public()).is_some()
    );
    drop(turn);
    assert!(inventories.turn(key(1).public()).is_some());
}

#[test]
fn a_damaged_record_costs_its_endpoint_one_inventory_and_nobody_else_anything() {
    let mut case = Case::new(InventoryLimits::default());
    let inventory = host(20, "1");
    case.says(1, &inventory).unwrap();
    case.says(2, &inventory).unwrap();
    let record = case.inventories.place(key(1).public()).join(RECORD);
    let whole = fs::read_to_string(&record).unwrap();
    let (before, after) = whole.split_once("\"bytes\":").unwrap();
    let impossible =
        format!("{before}\"bytes\":{}{}", u64::MAX, after.trim_start_matches(|c: char| c.is_ascii_digit()));
    for damage in [&b""[..], b"{", b"\0\0\0\0", impossible.as_bytes()] {
        fs::write(&record, damage).unwrap();
        let again =
            Inventories::open(case.inventories.directory.clone(), InventoryLimits::default(), WHOLE_DISK).unwrap();
        assert_eq!(again.of(key(1).public()).unwrap(), None);
        assert!(again.of(key(2).public()).unwrap().is_some());
    }
    let signed = case.report(1, &inventory);
    assert_eq!(case.inventories.take(&signed, None, NOW_MS).unwrap(), Taken::Wanted { base: None });
    assert_eq!(case.says(1, &inventory).unwrap(), Taken::Known);
}

#[test]
fn no_record_takes_more_than_it_counts_for() {
    let longest = |number: usize| Fact::new(format!("{number:0FACT_BYTES_MAX$}")).unwrap();
    let unhealthy = |number| Unhealthy {
        product: longest(number),
        channel: longest(number),
        since_ms: u64::MAX,
        why: longest(number),
    };
    let readings = Readings {
        booted_at_ms: u64::MAX,
        uptime_ms: u64::MAX,
        memory_free_mib: u64::MAX,
        disk_free_mib: u64::MAX,
        services_running: u32::MAX,
        services_failed: SortedList::new((0..READINGS_FAILED_MAX).map(longest).collect()).unwrap(),
        unhealthy: SortedList::new((0..READINGS_UNHEALTHY_MAX).map(unhealthy).collect()).unwrap(),
        unhealthy_left_out: u32::MAX,
        watched_every_ms: u64::MAX,
        again_within_ms: u64::MAX,
    };
    let (chain_id, endpoint) = (ChainId([7; 32]), PublicKey([0; 32]));
    let report = InventoryReport { chain_id, endpoint, at_ms: u64::MAX, inventory: Digest::ZERO, readings };
    let entry = Entry { inventory: Digest::ZERO, since_ms: u64::MAX, bytes: u64::MAX };
    // What JSON writes with an escape takes six bytes.
    let escaped = "\u{1}".repeat(FACT_BYTES_MAX);
    let record = Record {
        report: encode(&report.sign(&key(1))),
        at_ms: u64::MAX,
        received_ms: u64::MAX,
        summary: Summary { os_name: escaped.clone(), kernel: escaped, packages: u32::MAX },
        entries: vec![entry; InventoryLimits::default().history_max],
    };
    let bytes = record.to_bytes().len() as u64;
    assert!(RECORD_BYTES / 2 < bytes && bytes <= RECORD_BYTES, "{bytes}");
}
