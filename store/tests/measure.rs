use ledger::block::{Block, Place};
use ledger::bounded::*;
use ledger::execution::{self, ExecutedBlock, Tip};
use ledger::history;
use ledger::id::*;
use ledger::receipt::*;
use ledger::state::record::Role;
use ledger::state::{BlockContext, State, StateView};
use ledger::transaction::*;
use std::time::Instant;
use store::Store;
use tests::Scenario;

fn oncpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap()
        / 1e9
}
fn now() -> (f64, Instant) {
    (oncpu(), Instant::now())
}
fn cpu(t: &(f64, Instant)) -> f64 {
    if std::env::var("WALL").is_ok() { t.1.elapsed().as_secs_f64() } else { oncpu() - t.0 }
}
fn blocktime(tip: &Tip) -> u64 {
    tip.header.time_ms + 10
}

fn step(store: &Store, scenario: &Scenario, txs: Vec<VerifiedTransaction>, acc: &mut [f64; 6]) {
    let tip = store.tip();
    let n = txs.len();
    let time_ms = blocktime(&tip);
    let t = now();
    let mut state = State::begin(
        store,
        BlockContext { height: tip.header.height + 1, time_ms, history_size: tip.header.history_size_after() },
    );
    for tx in &txs {
        state.apply(tx).unwrap();
    }
    acc[0] += cpu(&t);
    let t = now();
    let update = state.finish(Some(tip.tree)).unwrap();
    acc[1] += cpu(&t);
    let t = now();
    let up = store.upcoming_validators().unwrap().unwrap();
    let place = Place {
        parent: tip.header.clone(),
        history_root: tip.history_root,
        next_validators_hash: up.after_next.hash(),
    };
    let header = place.header(time_ms, scenario.proposer(1), &txs, update.root);
    let block = Block::propose(header, &txs).unwrap();
    acc[2] += cpu(&t);
    let t = now();
    let history = history::append(store, tip.header.history_size_after(), txs.iter().map(|t| t.bytes())).unwrap();
    acc[3] += cpu(&t);
    let executed = ExecutedBlock { block, transactions: txs, state: update, history };
    let certificate = scenario.certificate(&executed.block.header);
    let t = now();
    store.commit(&executed, &certificate).unwrap();
    acc[4] += cpu(&t);
    acc[5] += n as f64;
}

fn report(what: &str, acc: &[f64; 6]) {
    let n = acc[5];
    eprintln!(
        "{what}: n={n} us/tx: apply {:.1} jmt {:.1} block {:.1} history {:.1} commit {:.1} total {:.1}",
        acc[0] / n * 1e6,
        acc[1] / n * 1e6,
        acc[2] / n * 1e6,
        acc[3] / n * 1e6,
        acc[4] / n * 1e6,
        acc[..5].iter().sum::<f64>() / n * 1e6
    );
}

fn name(t: String) -> Name {
    Name::new(t).unwrap()
}

fn receipt(s: &Scenario, endpoint: u64, patch: PatchId, attempt: u32, nonce: u64, time: u64) -> VerifiedTransaction {
    let r = Receipt {
        patch,
        rollout: None,
        attempt,
        from_version: Version::new("1.0.0").unwrap(),
        to_version: Version::new("1.0.1").unwrap(),
        outcome: Outcome::Applied,
        reason: None,
        health: Health::Passed,
        log_digest: Digest(derive("x", &nonce.to_le_bytes())),
        ended_at_ms: time,
    };
    s.transaction(&s.endpoint(endpoint), nonce, time, Payload::Receipt { receipt: r })
}

#[test]
fn measure() {
    let endpoints: u64 = std::env::var("ENDPOINTS").ok().and_then(|v| v.parse().ok()).unwrap_or(100_000);
    let rounds: u64 = std::env::var("ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(100);
    let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or("/tmp".into())).unwrap();
    let s = Scenario::new(1);
    let store = Store::create(dir.path().join("s"), s.genesis()).unwrap();
    let mut nonce = 0;
    let op = s.key("bank", Role::Operator);
    let mut acc = [0.0; 6];
    let mut e = 0;
    while e < endpoints {
        let time = store.tip().header.time_ms;
        let txs: Vec<_> = (0..2000.min(endpoints - e))
            .map(|i| {
                nonce += 1;
                s.transaction(
                    &op,
                    nonce,
                    time,
                    Payload::Enroll {
                        endpoint: s.endpoint(e + i).public(),
                        name: name(format!("host-{}", e + i)),
                        group: name("servers".into()),
                        labels: SortedList::default(),
                    },
                )
            })
            .collect();
        e += txs.len() as u64;
        step(&store, &s, txs, &mut acc);
    }
    report("enroll x2000", &acc);
    // publish, approve
    let mut acc = [0.0; 6];
    let time = store.tip().header.time_ms;
    let manifest = s.manifest(1);
    let patch = manifest.id();
    step(
        &store,
        &s,
        vec![s.transaction(&s.key("acme", Role::Publisher), 1, time, Payload::Publish { manifest })],
        &mut acc,
    );
    for org in ["bank", "clinic"] {
        let verdict = Verdict { patch, evidence: Digest::ZERO, note: Text::cut("") };
        step(
            &store,
            &s,
            vec![s.transaction(&s.key(org, Role::Approver), 1, time, Payload::Approve { verdict, urgent: false })],
            &mut acc,
        );
    }
    report("small", &acc);
    let mut next = 0u64;
    let mut dice = tests::Dice::new(5);
    let mut order: Vec<u64> = (0..endpoints).collect();
    for i in (1..order.len()).rev() {
        let j = dice.below(i as u64 + 1) as usize;
        order.swap(i, j);
    }
    for (size, count) in
        [(1u64, 300u64), (500, rounds), (500, rounds), (1000, rounds / 4), (3000, rounds / 10), (1, 300)]
    {
        let mut acc = [0.0; 6];
        let mut vs = 0.0;
        let mut slowest = 0f64;
        for _ in 0..count {
            let time = store.tip().header.time_ms;
            let txs: Vec<_> = (0..size)
                .map(|_| {
                    let k = next;
                    next += 1;
                    nonce += 1;
                    receipt(&s, order[(k % endpoints) as usize], patch, (k / endpoints) as u32 + 1, nonce, time)
                })
                .collect();
            if next < 2000 {
                let t = now();
                for tx in &txs {
                    SignedTransaction::verify_bytes(tx.bytes(), &s.chain_id()).unwrap();
                }
                vs += cpu(&t);
            }
            let before = acc[4];
            step(&store, &s, txs, &mut acc);
            slowest = slowest.max(acc[4] - before);
        }
        report(&format!("receipts x{size}"), &acc);
        eprintln!(
            "   commit per block mean {:.2} ms, slowest {:.2} ms; verify {:.1}us",
            acc[4] / count as f64 * 1e3,
            slowest * 1e3,
            vs * 1e6 / 300.0
        );
    }
    // point gets
    let t = now();
    for i in 0..20000u64 {
        let _ = store.endpoint(s.endpoint(0).public()).unwrap();
        if i == u64::MAX {
            return;
        }
    }
    eprintln!("hot record get+decode {:.2} us", cpu(&t) / 20000.0 * 1e6);
    let keys: Vec<_> = (0..5000).map(|i| s.endpoint(order[i]).public()).collect();
    let t = now();
    for k in &keys {
        store.endpoint(*k).unwrap().unwrap();
    }
    eprintln!("random record get+decode {:.2} us", cpu(&t) / 5000.0 * 1e6);
    let t = now();
    for i in 0..5000u64 {
        use ledger::state::storage::StateStorage;
        assert!(!store.is_finalised(&TransactionId(derive("y", &i.to_le_bytes()))).unwrap());
    }
    eprintln!("absent transaction id {:.2} us", cpu(&t) / 5000.0 * 1e6);
    let size = store.tip().header.history_size_after();
    let t = now();
    for _ in 0..5000u64 {
        store.transaction_at(dice.below(size)).unwrap().unwrap();
    }
    eprintln!("transaction_at random {:.2} us", cpu(&t) / 5000.0 * 1e6);
    let t = now();
    for h in 1..100u64 {
        store.block(h.min(store.tip().header.height)).unwrap().unwrap();
    }
    eprintln!("block {:.1} us", cpu(&t) / 99.0 * 1e6);
    let t = now();
    let p = store.receipts(Default::default(), None, 100).unwrap();
    eprintln!("receipts page of {}: {:.1} us", p.rows.len(), cpu(&t) * 1e6);
    let t = now();
    for _ in 0..1000 {
        store.view().tip().unwrap();
    }
    eprintln!("view+tip {:.2} us", cpu(&t) * 1e3);
    let (tip, path) = (store.tip(), store.path().to_owned());
    drop(store);
    let t = now();
    let store = Store::open(&path).unwrap();
    eprintln!("open {:.1} ms", cpu(&t) * 1e3);
    assert_eq!(store.tip(), tip);
    let out = std::process::Command::new("du").arg("-sh").arg(&path).output().unwrap();
    eprintln!("{}", String::from_utf8_lossy(&out.stdout));
    let _ = execution::propose(&store, &tip, vec![], blocktime(&tip), s.proposer(1)).unwrap();
}

#[test]
fn memory() {
    let endpoints = 100_000u64;
    let s = Scenario::new(1);
    let mut m = ledger::state::storage::MemoryStorage::default();
    m.write_state(&s.genesis().state);
    let mut head = ledger::state::tree::TreeHead { version: s.genesis().state.version, root: s.genesis().state.root };
    let rec = |i: u64, k: u8| {
        let mut b = derive("k", &i.to_le_bytes());
        b[0] = k << 4 | b[0] & 15;
        (ledger::state::StateKey(b), vec![7u8; 120])
    };
    let mut i = 0;
    while i < endpoints {
        let u = ledger::state::tree::update(&m, Some(head), (i..i + 2000).map(|i| rec(i, 5)).collect()).unwrap();
        head = ledger::state::tree::TreeHead { version: u.version, root: u.root };
        m.write_state(&u);
        i += 2000;
    }
    struct Counting(ledger::state::storage::MemoryStorage, std::cell::Cell<(u64, u64, f64)>);
    impl ledger::state::storage::StateStorage for Counting {
        fn record(&self, k: &ledger::state::StateKey) -> Result<Option<Vec<u8>>, ledger::state::storage::StorageError> {
            self.0.record(k)
        }
        fn tree_node(&self, k: &[u8]) -> Result<Option<Vec<u8>>, ledger::state::storage::StorageError> {
            let t = now();
            let r = self.0.tree_node(k);
            let (n, b, x) = self.1.get();
            self.1.set((n + 1, b + r.as_ref().unwrap().as_ref().map_or(0, |v| v.len() as u64), x + cpu(&t)));
            r
        }
        fn is_finalised(&self, k: &TransactionId) -> Result<bool, ledger::state::storage::StorageError> {
            self.0.is_finalised(k)
        }
    }
    let mut c = Counting(m, Default::default());
    let t = now();
    let (mut nodes, mut stale, mut bytes) = (0, 0, 0);
    for _ in 0..100 {
        let u = ledger::state::tree::update(&c, Some(head), (i..i + 500).map(|i| rec(i, 6)).collect()).unwrap();
        head = ledger::state::tree::TreeHead { version: u.version, root: u.root };
        i += 500;
        nodes += u.nodes.len();
        stale += u.stale.len();
        bytes += u.nodes.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        c.0.write_state(&u);
    }
    let (n, b, x) = c.1.get();
    eprintln!(
        "memory jmt per record {:.1} us, reads/record {:.2} bytes/read {:.0} us/read {:.2}; nodes written/record {:.2} bytes/node {} stale {:.2}",
        cpu(&t) / 50000.0 * 1e6,
        n as f64 / 50000.0,
        b as f64 / n as f64,
        x / n as f64 * 1e6,
        nodes as f64 / 50000.0,
        bytes / nodes,
        stale as f64 / 50000.0
    );
}
