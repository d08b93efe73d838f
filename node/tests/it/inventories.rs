//! What hosts say is on them: whose word is taken, what it costs, and who may read it.

use crate::support::now_ms;
use crate::support::site::{Node, Site};
use crate::support::world::World;
use ledger::bounded::{Name, SortedList};
use ledger::encoding::encode;
use ledger::id::Digest;
use ledger::inventory::{
    Fact, Hardware, INVENTORY_VERSION, Inventory, InventoryRead, InventoryReport, Package, Readings, Source, System,
};
use ledger::key::{PublicKey, SecretKey};
use ledger::limits;
use ledger::state::record::Role;
use ledger::transaction::Payload;
use proto::packed;
use proto::v1::inventories_client::InventoriesClient;
use proto::v1::{GetHistoryRequest, GetInventoryRequest, ListInventoriesRequest, ReportRequest, ReportResponse};
use tests::VENDOR;
use tonic::{Code, Status};

/// A host with so many packages.
fn host(packages: usize, version: &str) -> Inventory {
    let fact = |text: &str| Fact::new(text).unwrap();
    let package = |number: usize| {
        let name = fact(&Digest::blake3(&number.to_le_bytes()).to_string()[..20]);
        Package { source: Source::Dpkg, name, variant: fact("amd64"), version: fact(version), detail: Fact::default() }
    };
    Inventory {
        version: INVENTORY_VERSION,
        system: System { os_name: fact("Debian GNU/Linux 12"), kernel: fact("6.1.0-21-amd64"), ..System::default() },
        hardware: Hardware::default(),
        packages: SortedList::new((0..packages).map(package).collect()).unwrap(),
        services: SortedList::default(),
        addresses: SortedList::default(),
        left_out: 0,
        unread: SortedList::default(),
    }
}

struct Case {
    world: World,
    node: Node,
    site: Site,
}

impl Case {
    /// A ledger of one node with one host of its organisation, and one of another.
    async fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let site = Site::validator(&world);
        let node = site.start().await;
        let case = Self { world, node, site };
        case.enroll(VENDOR, &endpoint(1), "web-1").await;
        case.enroll("bank", &endpoint(2), "till-1").await;
        case
    }

    async fn enroll(&self, organisation: &str, key: &SecretKey, called: &str) {
        let name = |text: &str| Name::new(text).unwrap();
        let (endpoint, labels) = (key.public(), SortedList::default());
        let payload = Payload::Enroll { endpoint, name: name(called), group: name("web"), labels };
        self.node.finalise(&self.world.sign(&self.world.key(organisation, Role::Operator), payload)).await;
    }

    fn report(&self, inventory: &Inventory) -> InventoryReport {
        let (chain_id, inventory) = (self.world.scenario.chain_id(), inventory.digest());
        let readings = Readings { uptime_ms: 5_000, ..Readings::default() };
        InventoryReport { chain_id, endpoint: PublicKey([0; 32]), at_ms: now_ms(), inventory, readings }
    }

    async fn send(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        Ok(self.client().report(request).await?.into_inner())
    }

    fn client(&self) -> InventoriesClient<tonic::transport::Channel> {
        InventoriesClient::new(self.node.channel())
    }

    fn read(&self, of: Option<&SecretKey>) -> InventoryRead {
        InventoryRead {
            chain_id: self.world.scenario.chain_id(),
            reader: PublicKey([0; 32]),
            node: self.site.key.public(),
            endpoint: of.map(SecretKey::public),
            expires_at_ms: now_ms() + 60_000,
        }
    }

    fn operator(&self) -> SecretKey {
        self.world.key(VENDOR, Role::Operator)
    }
}

fn endpoint(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn said(report: InventoryReport, key: &SecretKey) -> ReportRequest {
    ReportRequest { report: encode(&report.sign(key)), ..ReportRequest::default() }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, check: &str) {
    let status = answer.unwrap_err();
    let refusal = proto::refusal(&status).unwrap_or_else(|| panic!("{status}"));
    assert_eq!((status.code(), refusal.check.as_str()), (code, check), "{refusal:?}");
    assert!(!refusal.hint.is_empty(), "{refusal:?}");
}

#[tokio::test]
async fn what_a_host_says_is_kept_and_read_by_its_own_people_also_after_a_restart() {
    let case = Case::new(101).await;
    let (first, second) = (host(2_000, "1.0-1"), host(2_001, "1.0-1"));
    let report = said(case.report(&first), &endpoint(1));
    let asked = case.send(report.clone()).await.unwrap();
    assert!(!asked.known && asked.base.is_empty());
    let packed = packed::pack(&encode(&first), &[]).unwrap();
    let whole = packed.len() + report.report.len();
    assert!(case.send(ReportRequest { packed, ..report.clone() }).await.unwrap().known);
    // From then on it is small: the digest, and readings.
    let again = said(InventoryReport { at_ms: now_ms() + 1, ..case.report(&first) }, &endpoint(1));
    assert!(case.send(again.clone()).await.unwrap().known);
    let changed = said(InventoryReport { at_ms: now_ms() + 2, ..case.report(&second) }, &endpoint(1));
    let asked = case.send(changed.clone()).await.unwrap();
    assert_eq!((asked.known, &asked.base[..]), (false, &first.digest().0[..]));
    let packed = packed::pack(&encode(&second), &encode(&first)).unwrap();
    println!("2,000 packages: {whole} bytes whole, {} nothing new, {} one more", again.report.len(), packed.len());
    assert!(packed.len() < 1_000 && again.report.len() < 400 && whole < 64 * 1024);
    assert!(case.send(ReportRequest { packed, base: asked.base, ..changed }).await.unwrap().known);

    case.node.stop();
    let case = Case { node: case.site.start().await, ..case };
    for reader in [case.operator(), case.world.key("acme", Role::Approver)] {
        let read = encode(&case.read(None).sign(&reader));
        let listed = case.client().list(ListInventoriesRequest { read, ..Default::default() }).await;
        if reader.public() != case.operator().public() && listed.is_err() {
            continue; // This organisation has no approver.
        }
        let [listed] = listed.unwrap().into_inner().endpoints.try_into().unwrap();
        let there = listed.endpoint.unwrap();
        assert_eq!((there.name.as_str(), there.organisation.as_str()), ("web-1", VENDOR), "and not the bank's");
        assert_eq!((listed.packages, listed.kernel.as_str()), (2_001, "6.1.0-21-amd64"));
        let age = now_ms().abs_diff(listed.received_ms);
        assert!(age < 600_000, "{age}");
    }
    let read = encode(&case.read(Some(&endpoint(1))).sign(&case.operator()));
    let history =
        case.client().get_history(GetHistoryRequest { read: read.clone() }).await.unwrap().into_inner().entries;
    let digests: Vec<_> = history.iter().map(|entry| entry.inventory.clone()).collect();
    assert_eq!(digests, [second.digest().0.to_vec(), first.digest().0.to_vec()]);
    for (wanted, inventory) in [(Vec::new(), &second), (first.digest().0.to_vec(), &first)] {
        let request = GetInventoryRequest { read: read.clone(), inventory: wanted };
        let got = case.client().get(request).await.unwrap().into_inner();
        assert_eq!(packed::unpack(&got.packed, &[]).unwrap(), encode(inventory));
    }
    let request = GetInventoryRequest { read, inventory: vec![1; 32] };
    refused(case.client().get(request).await, Code::NotFound, "not-found");
}

#[tokio::test]
async fn whatever_is_not_the_word_of_an_active_host_of_ours_is_refused_by_name() {
    let case = Case::new(102).await;
    let inventory = host(3, "1");
    let (invalid, denied) = (Code::InvalidArgument, Code::PermissionDenied);
    let report = || case.report(&inventory);
    let packed = packed::pack(&encode(&inventory), &[]).unwrap();
    let good = || ReportRequest { packed: packed.clone(), ..said(report(), &endpoint(1)) };
    let other = packed::pack(&encode(&host(4, "1")), &[]).unwrap();
    let bomb = zstd_of_zeros();
    let mut forged = said(report(), &endpoint(1));
    let last = forged.report.len() - 1;
    forged.report[last] ^= 1;
    for (request, code, check) in [
        (
            said(InventoryReport { chain_id: ledger::id::ChainId([1; 32]), ..report() }, &endpoint(1)),
            invalid,
            "chain-id",
        ),
        (
            said(InventoryReport { at_ms: now_ms() - limits::INVENTORY_REPORT_MS_MAX - 1, ..report() }, &endpoint(1)),
            invalid,
            "expired",
        ),
        (
            said(InventoryReport { at_ms: now_ms() + 10 * limits::INVENTORY_AHEAD_MS_MAX, ..report() }, &endpoint(1)),
            invalid,
            "clock-ahead",
        ),
        (forged, invalid, "signature"),
        (said(report(), &endpoint(3)), denied, "unknown-key"),
        (said(report(), &endpoint(2)), denied, "organisation"),
        (ReportRequest { report: vec![0; 70_000], ..Default::default() }, invalid, "size"),
        (ReportRequest { report: vec![0; 7], ..Default::default() }, invalid, "malformed"),
        (ReportRequest { base: vec![1; 5], ..good() }, invalid, "malformed"),
        (ReportRequest { packed: other, ..good() }, invalid, "inventory"),
        (ReportRequest { packed: bomb, ..good() }, invalid, "packed"),
        (ReportRequest { packed: b"nothing of the kind".to_vec(), ..good() }, invalid, "packed"),
        (ReportRequest { packed: vec![0; limits::INVENTORY_PACKED_BYTES_MAX + 1], ..good() }, invalid, "packed"),
    ] {
        refused(case.send(request).await, code, check);
    }
    let too_long = ReportRequest { packed: vec![0; limits::INVENTORY_PACKED_BYTES_MAX + 16 * 1024], ..good() };
    assert!(case.send(too_long).await.is_err());
    let read = encode(&case.read(Some(&endpoint(1))).sign(&case.operator()));
    let nothing = case.client().get(GetInventoryRequest { read, ..Default::default() }).await;
    refused(nothing, Code::NotFound, "not-found");

    // Once it is taken it cannot be said again, but for whoever did not hear the answer; nor anything older.
    let (old, new) = (said(InventoryReport { at_ms: now_ms() - 1_000, ..report() }, &endpoint(1)), good());
    assert!(case.send(new.clone()).await.unwrap().known && case.send(new).await.unwrap().known);
    refused(case.send(old).await, Code::FailedPrecondition, "replayed");
    // Nor by a host that was retired.
    let retire = Payload::Retire { endpoint: endpoint(1).public() };
    case.node.finalise(&case.world.sign(&case.operator(), retire)).await;
    refused(case.send(said(report(), &endpoint(1))).await, denied, "key-not-active");
}

fn zstd_of_zeros() -> Vec<u8> {
    // A frame of 64 MiB of zeros: what packs so well is no inventory.
    packed::pack(&vec![0; 64 << 20], &[]).unwrap()
}

#[tokio::test]
async fn nobody_reads_but_our_operators_and_approvers_and_each_is_told_why() {
    let case = Case::new(103).await;
    let inventory = host(3, "1");
    let packed = packed::pack(&encode(&inventory), &[]).unwrap();
    case.send(ReportRequest { packed, ..said(case.report(&inventory), &endpoint(1)) }).await.unwrap();
    let read = || case.read(None);
    let (invalid, denied, operator) = (Code::InvalidArgument, Code::PermissionDenied, case.operator());
    let key = |organisation, role| case.world.key(organisation, role);
    let mut forged = encode(&read().sign(&operator));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for (read, code, check) in [
        (encode(&read().sign(&key("bank", Role::Operator))), denied, "organisation"),
        (encode(&read().sign(&key(VENDOR, Role::Publisher))), denied, "wrong-role"),
        (encode(&read().sign(&key(VENDOR, Role::Governor))), denied, "wrong-role"),
        (encode(&read().sign(&key(VENDOR, Role::Node))), denied, "wrong-role"),
        (encode(&read().sign(&endpoint(1))), denied, "unknown-key"),
        (encode(&InventoryRead { node: PublicKey([1; 32]), ..read() }.sign(&operator)), invalid, "node"),
        (encode(&InventoryRead { expires_at_ms: 1, ..read() }.sign(&operator)), invalid, "expired"),
        (encode(&InventoryRead { expires_at_ms: u64::MAX, ..read() }.sign(&operator)), invalid, "expires-too-late"),
        (encode(&case.read(Some(&endpoint(1))).sign(&operator)), invalid, "malformed"),
        (forged, invalid, "signature"),
        (Vec::new(), invalid, "malformed"),
    ] {
        refused(case.client().list(ListInventoriesRequest { read, ..Default::default() }).await, code, check);
    }
    // Leave to list is no leave to look into one, nor of one host into another.
    let of_all = encode(&read().sign(&operator));
    refused(case.client().get(GetInventoryRequest { read: of_all, ..Default::default() }).await, invalid, "malformed");
    let of_the_banks = encode(&case.read(Some(&endpoint(2))).sign(&operator));
    let request = GetHistoryRequest { read: of_the_banks };
    refused(case.client().get_history(request).await, Code::NotFound, "not-found");
}
