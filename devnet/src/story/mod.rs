//! The story: one real update from the vendor's signature to the receipts of every host, with a host
//! that fails, a recall, a late host, an altered proof and a validator that dies.

mod report;
mod stage;

use crate::client;
use crate::guide::guide;
use crate::layout::Devnet;
use crate::processes::{self, output, run};
use crate::raise::{self, Plan, SITE};
use proto::v1::{ListReceiptsRequest, Receipt};
use report::Report;
pub use report::latency;
pub(crate) use report::table;
use stage::{Host, PRODUCT, Packages};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a step may take that waits for hosts to act by themselves.
const HOSTS_PATIENCE: Duration = Duration::from_secs(30);
/// How often their doings are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Validators of the story: two vendors, two approvers.
const VALIDATORS: usize = 4;
/// The validator that is killed.
const VICTIM: &str = "vendor-b";

/// What to play.
pub struct Script {
    /// Where everything goes.
    pub dir: PathBuf,
    /// Packages of the old version.
    pub old: Vec<PathBuf>,
    /// Packages of the new version.
    pub new: Vec<PathBuf>,
    /// Leave everything running.
    pub keep: bool,
}

/// Says a line of progress.
pub type Say<'a> = &'a mut dyn FnMut(&str);

/// The report's file in the directory of the story.
pub const REPORT: &str = "report.json";
/// The ledger's directory in that of the story.
pub const LEDGER: &str = "ledger";

/// Whether the packages will do: before anything is made, or removed.
///
/// # Errors
/// What is missing, or that there would be nothing to update.
pub fn check(script: &Script) -> Result<(), Box<dyn Error>> {
    let (old, new) = (Packages::find(&script.old)?, Packages::find(&script.new)?);
    if old.version == new.version {
        return Err(format!("old and new are both {}: nothing would be updated", old.version).into());
    }
    Ok(())
}

/// Plays the story; true when every step came out as promised.
///
/// # Errors
/// When the stage cannot be set: packages, programs, disks.
pub async fn play(script: &Script, say: Say<'_>, print: Say<'_>) -> Result<bool, Box<dyn Error>> {
    let old = Packages::find(&script.old)?;
    let new = Packages::find(&script.new)?;
    fs::create_dir_all(&script.dir)?;
    let dir = script.dir.canonicalize()?;
    let mut report = Report::begin(&old.version, &new.version);

    let devnet = report.step(say, "raise the ledger", "four validators, one site node, all connected", async {
        let plan = Plan {
            dir: dir.join(LEDGER),
            validators: VALIDATORS,
            agents: 0,
            subscriptions: Vec::new(),
            heartbeat_ms: 2_000,
            seal_ms: 100,
            addresses: Vec::new(),
        };
        let devnet = raise::up(&plan, &mut |_| {}).await?;
        let found = format!("{} nodes of {} organisations", devnet.nodes.len(), devnet.nodes.len());
        Ok((found, devnet))
    });
    let Some(devnet) = devnet.await else {
        return Ok(finish(&report, &dir, print, None)?);
    };
    let mut theatre = Theatre { dir: dir.clone(), devnet, old, new, hosts: Vec::new(), patch: String::new() };
    let complete = theatre.acts(&mut report, say).await.is_some();
    if complete {
        theatre.summarise(&mut report).await;
    }
    let where_to_look = script.keep.then_some(&theatre.devnet);
    let promised = finish(&report, &dir, print, where_to_look)?;
    if !script.keep {
        processes::down(&mut theatre.devnet)?;
    }
    Ok(promised && complete)
}

fn finish(report: &Report, dir: &Path, print: Say<'_>, kept: Option<&Devnet>) -> std::io::Result<bool> {
    report.save(&dir.join(REPORT))?;
    for line in report.table().lines() {
        print(line);
    }
    let (countersign, dir) = (processes::program("countersign"), dir.display());
    print("");
    print(&format!("evidence: {dir}/{REPORT}, redis.proof (altered.proof: one byte changed), genesis.trust"));
    let (proof, trust) = (format!("{dir}/redis.proof"), format!("{dir}/genesis.trust"));
    print(&format!("check it: {} verify {proof} --trust {trust}", countersign.display()));
    if let Some(devnet) = kept {
        print("");
        guide(devnet).iter().for_each(|line| print(line));
    }
    Ok(report.all_as_promised())
}

/// Everything the acts share.
struct Theatre {
    dir: PathBuf,
    devnet: Devnet,
    old: Packages,
    new: Packages,
    hosts: Vec<Host>,
    patch: String,
}

impl Theatre {
    /// All acts, in order; ends early when a later act would make no sense without the one that failed.
    async fn acts(&mut self, report: &mut Report, say: Say<'_>) -> Option<()> {
        let r = report;
        r.step(say, "three hosts run the old version", "3 × PONG, agents enrolled", self.set_hosts()).await?;
        let patch = r.step(say, "vendor signs and publishes", "finalised", self.publish()).await?;
        self.patch = patch;
        r.step(
            say,
            "first approver approves",
            "finalised, patch stands pending",
            self.approve("approver-a", "pending"),
        )
        .await?;
        r.step(say, "a host is asked to apply now", "refused: approval-rule, missing approver-b", self.too_early())
            .await?;
        r.step(
            say,
            "second approver approves",
            "finalised, patch stands approved",
            self.approve("approver-b", "approved"),
        )
        .await?;
        r.step(say, "hosts find it and apply it", "2 × applied, PONG, new version", self.applied()).await?;
        r.step(say, "unhealthy host rolls back", "rolled-back: health-failed, PONG, old version", self.rolled_back())
            .await?;
        r.step(say, "every outcome is a signed receipt", "4 receipts in the ledger", self.receipts_are_there(4))
            .await?;
        r.step(say, "proof file exported", "proof and trust root written", self.export()).await?;
        r.step(say, "vendor recalls the patch", "finalised, patch stands recalled", self.recall()).await?;
        r.step(say, "a late host is asked to apply it", "refused: recalled", self.late_host()).await?;
        r.step(say, "proof verified offline", "exit 0", self.verify_offline()).await?;
        r.step(say, "one byte of the proof changed", "exit 1, the check named", self.verify_altered()).await?;
        r.step(say, "one validator killed", "the ledger goes on", self.kill_one()).await?;
        r.step(say, "it comes back", "same height as the others", self.come_back()).await
    }

    async fn set_hosts(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let packed = self.dir.join("packed-old");
        self.old.pack(&packed)?;
        for number in 1..=3 {
            // The third host's health check looks at a port where nothing listens.
            let host =
                Host::make(&mut self.devnet, &format!("agent-{number}"), number == 3, Some((&self.old, &packed)))?;
            self.hosts.push(host);
        }
        for host in &self.hosts {
            host.await_pong(HOSTS_PATIENCE).await?;
        }
        Ok((format!("3 × PONG, {}", self.old.version), ()))
    }

    async fn publish(&mut self) -> Result<(String, String), Box<dyn Error>> {
        let packed = self.dir.join("packed-new");
        let patch = self.new.pack(&packed)?;
        let packed = packed.display().to_string();
        self.devnet.countersign("vendor-a", "publisher", &["patch", "publish", &packed])?;
        Ok((format!("{} {}, patch {}", PRODUCT, self.new.version, &patch[..12]), patch))
    }

    async fn approve(&mut self, organisation: &str, then: &str) -> Result<(String, ()), Box<dyn Error>> {
        let command = ["approve", &self.patch, "--note", "looked at and tried"];
        self.devnet.countersign(organisation, "approver", &command)?;
        Ok((self.await_standing(then).await?, ()))
    }

    /// Waits until the site's node has the patch standing so: it may be a block behind.
    async fn await_standing(&self, wanted: &str) -> Result<String, Box<dyn Error>> {
        let deadline = Instant::now() + HOSTS_PATIENCE;
        loop {
            let standing = self.standing().await.unwrap_or_else(|_| "unknown".to_owned());
            if standing == wanted {
                return Ok(format!("finalised, patch stands {standing}"));
            }
            if Instant::now() > deadline {
                return Err(format!("the patch stands {standing}, not {wanted}").into());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn standing(&self) -> Result<String, Box<dyn Error>> {
        let site = self.devnet.node(SITE).ok_or("no site")?;
        let mut client = client::connect(&site.grpc, &self.devnet.ca).await?;
        let id = hex::decode(&self.patch)?;
        Ok(client.get_patch(proto::v1::GetPatchRequest { id }).await?.into_inner().standing)
    }

    async fn too_early(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let said = self.hosts[0].ask_to_apply(&self.patch, 1)?;
        for word in ["approval-rule", "approver-b"] {
            if !said.contains(word) {
                return Err(format!("the refusal does not name {word}: {said}").into());
            }
        }
        Ok(("refused: approval-rule, missing approver-b".to_owned(), ()))
    }

    async fn receipts(&self) -> Result<Vec<Receipt>, Box<dyn Error>> {
        let site = self.devnet.node(SITE).ok_or("no site")?;
        let mut client = client::connect(&site.grpc, &self.devnet.ca).await?;
        let request = ListReceiptsRequest { patch: hex::decode(&self.patch)?, page_size: 1_000, ..Default::default() };
        Ok(client.list_receipts(request).await?.into_inner().receipts)
    }

    /// Waits for a receipt of a host with this outcome.
    async fn await_receipt(&self, host: &str, outcome: &str) -> Result<Receipt, Box<dyn Error>> {
        let deadline = Instant::now() + HOSTS_PATIENCE;
        loop {
            let receipts = self.receipts().await?;
            let found = receipts.iter().find(|receipt| receipt.endpoint_name == host && receipt.outcome == outcome);
            if let Some(receipt) = found {
                return Ok(receipt.clone());
            }
            if Instant::now() > deadline {
                let seen: Vec<_> =
                    receipts.iter().map(|r| format!("{} {} {}", r.endpoint_name, r.outcome, r.detail)).collect();
                return Err(format!("no receipt {outcome} of {host}; there are: {}", seen.join("; ")).into());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn applied(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        for host in &self.hosts[..2] {
            let receipt = self.await_receipt(&host.name, "applied").await?;
            if receipt.health != "passed" {
                return Err(format!("{}: applied with health {}", host.name, receipt.health).into());
            }
            host.await_pong(HOSTS_PATIENCE).await?;
            host.expect_version(&self.new.version)?;
        }
        Ok((format!("2 × applied, PONG, {}", self.new.version), ()))
    }

    async fn rolled_back(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let host = &self.hosts[2];
        let receipt = self.await_receipt(&host.name, "rolled-back").await?;
        if receipt.reason != "health-failed" {
            return Err(format!("rolled back because of {}", receipt.reason).into());
        }
        host.await_pong(HOSTS_PATIENCE).await?;
        host.expect_version(&self.old.version)?;
        Ok((format!("rolled-back: health-failed, PONG, {}", self.old.version), ()))
    }

    async fn receipts_are_there(&mut self, count: usize) -> Result<(String, ()), Box<dyn Error>> {
        let receipts = self.receipts().await?;
        if receipts.len() != count {
            return Err(format!("{} receipts", receipts.len()).into());
        }
        Ok((format!("{count} receipts in the ledger"), ()))
    }

    fn proof_file(&self) -> PathBuf {
        self.dir.join("redis.proof")
    }

    fn trust_root(&self) -> PathBuf {
        self.dir.join("genesis.trust")
    }

    async fn export(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let site = self.devnet.node(SITE).ok_or("no site")?;
        let file = self.proof_file().display().to_string();
        let who = self.devnet.connection(&site.grpc);
        let command = ["proof", "get", &self.patch, "--out", &file];
        let arguments: Vec<&str> = command.into_iter().chain(who.iter().map(String::as_str)).collect();
        run("countersign", &arguments)?;
        fs::copy(&self.devnet.genesis, self.trust_root())?;
        Ok((format!("{} bytes", fs::metadata(&file)?.len()), ()))
    }

    async fn recall(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let command = ["patch", "recall", &self.patch, "--reason", "a regression was found"];
        self.devnet.countersign("vendor-a", "publisher", &command)?;
        Ok((self.await_standing("recalled").await?, ()))
    }

    async fn late_host(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let packed = self.dir.join("packed-old");
        let host = Host::make(&mut self.devnet, "agent-4", false, Some((&self.old, &packed)))?;
        host.await_pong(HOSTS_PATIENCE).await?;
        let said = host.ask_to_apply(&self.patch, 1)?;
        if !said.contains("recalled") {
            return Err(format!("the refusal does not name the recall: {said}").into());
        }
        let receipt = self.await_receipt(&host.name, "refused").await?;
        host.expect_version(&self.old.version)?;
        self.hosts.push(host);
        Ok((format!("refused: {}, receipt {}", receipt.reason, receipt.attempt), ()))
    }

    async fn verify_offline(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let (proof, trust) = (self.proof_file().display().to_string(), self.trust_root().display().to_string());
        run("countersign", &["verify", &proof, "--trust", &trust])?;
        Ok(("exit 0".to_owned(), ()))
    }

    async fn verify_altered(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let mut bytes = fs::read(self.proof_file())?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let altered = self.dir.join("altered.proof");
        fs::write(&altered, bytes)?;
        let (proof, trust) = (altered.display().to_string(), self.trust_root().display().to_string());
        let output = output("countersign", &["verify", &proof, "--trust", &trust])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(1) {
            return Err(format!("{}: {said}", output.status).into());
        }
        let named = ledger::receipt::ReasonCode::ALL.iter().find(|code| said.contains(code.word()));
        let named = named.ok_or_else(|| format!("no check is named: {said}"))?;
        Ok((format!("exit 1: {named}"), ()))
    }

    async fn heights(&self) -> Result<Vec<(String, u64)>, Box<dyn Error>> {
        let mut heights = Vec::new();
        for node in self.devnet.nodes.iter().filter(|node| node.pid.is_some()) {
            let status = client::status(&node.grpc, &self.devnet.ca).await?;
            heights.push((node.name.clone(), status.height));
        }
        Ok(heights)
    }

    async fn kill_one(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let node = self.devnet.nodes.iter_mut().find(|node| node.name == VICTIM).ok_or("no victim")?;
        processes::stop(node.pid.take(), &node.config, true);
        self.devnet.save()?;
        let before = self.heights().await?.iter().map(|(_, height)| *height).max().unwrap_or(0);
        // Work that must be finalised without it: three more hosts enrolled.
        for number in 1..=3 {
            raise::make_agent(&self.devnet, &format!("spare-{number}"), "")?;
        }
        let after = self.heights().await?.iter().map(|(_, height)| *height).max().unwrap_or(0);
        if after <= before {
            return Err(format!("height stays at {after}").into());
        }
        Ok((format!("{VICTIM} killed at height {before}, the others are at {after}"), ()))
    }

    async fn come_back(&mut self) -> Result<(String, ()), Box<dyn Error>> {
        let wanted = self.heights().await?.iter().map(|(_, height)| *height).max().unwrap_or(0);
        let node = self.devnet.nodes.iter_mut().find(|node| node.name == VICTIM).ok_or("no victim")?;
        processes::start_node(node)?;
        let (url, ca) = (node.grpc.clone(), self.devnet.ca.clone());
        self.devnet.save()?;
        let deadline = Instant::now() + HOSTS_PATIENCE;
        loop {
            if let Ok(status) = client::status(&url, &ca).await
                && status.height >= wanted
            {
                return Ok((format!("{VICTIM} is at height {}", status.height), ()));
            }
            if Instant::now() > deadline {
                return Err(format!("{VICTIM} did not reach height {wanted}").into());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The last table: heights, latencies, receipts.
    async fn summarise(&self, report: &mut Report) {
        for node in &self.devnet.nodes {
            if let Ok(status) = client::status(&node.grpc, &self.devnet.ca).await {
                report.node(&node.name, &status);
            }
        }
        if let Ok(receipts) = self.receipts().await {
            report.receipts(&receipts);
        }
    }
}
