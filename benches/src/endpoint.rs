//! One endpoint's agent: how much memory and time of the processor it takes, at rest and through a large update.

use crate::figure::Figure;
use crate::{Arguments, Failure};
use devnet::layout::{Agent, Devnet};
use devnet::processes;
use devnet::raise::{self, SITE};
use proto::v1::ListReceiptsRequest;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The product of the update.
const PRODUCT: &str = "vendor-a/large";
/// The tree of the update: so many files of so many bytes, none of which compresses.
const FILES: u64 = 16;
const FILE_BYTES: usize = 8 * 1024 * 1024;
/// Blocks the agent follows before it counts as at rest.
const BLOCKS_AT_REST: u64 = 5;
/// Blocks it follows while its time of the processor is counted.
const BLOCKS_COUNTED: u64 = 20;
/// What the kernel counts a process's time in: hundredths of a second, on every Linux.
const MS_PER_TICK: f64 = 10.0;
/// How long the update may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the ledger is asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What an agent may hold.
const TARGET_MIB: f64 = 32.0;
/// What it may take of the processor at rest, in a minute: a thousandth.
const TARGET_MS_PER_MINUTE: f64 = 60.0;

/// Enrols an agent, lets it rest, gives it an update of 128 MiB, looks at its memory both times.
pub(crate) async fn measure(arguments: &Arguments, devnet: &mut Devnet) -> Result<(), Failure> {
    raise::add_agent(devnet, "measured", &raise::agent_subscriptions(&[PRODUCT.to_owned()]))?;
    let agent = devnet.agents.last().ok_or("no agent")?.clone();
    await_blocks(devnet, BLOCKS_AT_REST).await?;
    let (since, before) = (Instant::now(), processor_ms(&agent)?);
    await_blocks(devnet, BLOCKS_COUNTED).await?;
    let per_minute = (processor_ms(&agent)? - before) * 60.0 / since.elapsed().as_secs_f64();
    let processor = Figure::new("agent_rest_cpu", "ms/min", vec![per_minute], ("target, ms/min", TARGET_MS_PER_MINUTE));
    processor.publish(&arguments.results)?;
    let rest = memory(&agent, "VmRSS:")?;
    Figure::new("agent_rest", "MiB", vec![rest], ("target, MiB", TARGET_MIB)).publish(&arguments.results)?;
    let patch = publish(devnet, &arguments.dir)?;
    await_applied(devnet, &patch).await?;
    let peak = memory(&agent, "VmHWM:")?;
    Figure::new("agent_peak", "MiB", vec![peak], ("target, MiB", TARGET_MIB)).publish(&arguments.results)?;
    let agent = devnet.agents.last_mut().ok_or("no agent")?;
    processes::stop(agent.pid.take(), &agent.config, false);
    Ok(())
}

/// What the kernel says of the agent's memory.
fn memory(agent: &Agent, line: &str) -> Result<f64, Failure> {
    let pid = agent.pid.ok_or("the agent does not run")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|text| text.strip_prefix(line)?.split_whitespace().next());
    Ok(kib.ok_or("the kernel does not say")?.parse::<f64>()? / 1024.0)
}

/// How long the agent has run by now, threads that ended included, in milliseconds.
fn processor_ms(agent: &Agent) -> Result<f64, Failure> {
    let pid = agent.pid.ok_or("the agent does not run")?;
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may have anything in it: user time is the 14th field of the line, that of the kernel the 15th.
    let (_, fields) = line.rsplit_once(')').ok_or("the kernel does not say")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks * MS_PER_TICK)
}

/// Packs, publishes and approves the update; gives its id.
fn publish(devnet: &Devnet, dir: &Path) -> Result<String, Failure> {
    let tree = dir.join("large");
    fs::create_dir_all(&tree)?;
    // Xorshift: bytes no archive makes smaller, the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..FILES {
        let mut file = std::io::BufWriter::new(fs::File::create(tree.join(format!("part-{number}")))?);
        for _ in 0..FILE_BYTES / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_le_bytes())?;
        }
        file.flush()?;
    }
    let (packed, tree) = (dir.join("packed").display().to_string(), tree.display().to_string());
    let pack = [
        "patch",
        "pack",
        "--product",
        PRODUCT,
        "--channel",
        "stable",
        "--version",
        "1",
        "--release",
        "1",
        "--class",
        "feature",
        "--severity",
        "low",
        "--title",
        "large",
        "--out",
        &packed,
        "-o",
        "json",
        &tree,
    ];
    let printed = processes::run("countersign", &pack)?;
    let printed: serde_json::Value = serde_json::from_str(&printed)?;
    let patch = printed.get("patch").and_then(serde_json::Value::as_str).ok_or("pack names no patch")?;
    devnet.countersign("vendor-a", "publisher", &["patch", "publish", &packed])?;
    for organisation in ["approver-a", "approver-b"] {
        devnet.countersign(organisation, "approver", &["approve", patch, "--note", "measured"])?;
    }
    Ok(patch.to_owned())
}

async fn await_blocks(devnet: &Devnet, count: u64) -> Result<(), Failure> {
    let site = devnet.node(SITE).ok_or("no site")?;
    let height = || async { Ok::<_, Failure>(devnet::client::status(&site.grpc, &devnet.ca).await?.height) };
    let (first, deadline) = (height().await?, Instant::now() + PATIENCE);
    while height().await? < first + count {
        wait_until(deadline, "blocks").await?;
    }
    Ok(())
}

async fn await_applied(devnet: &Devnet, patch: &str) -> Result<(), Failure> {
    let site = devnet.node(SITE).ok_or("no site")?;
    let mut client = devnet::client::connect(&site.grpc, &devnet.ca).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = ListReceiptsRequest { patch: hex::decode(patch)?, page_size: 10, ..Default::default() };
        let receipts = client.list_receipts(request).await?.into_inner().receipts;
        match receipts.first() {
            Some(receipt) if receipt.outcome == "applied" => return Ok(()),
            Some(receipt) => return Err(format!("{}: {} {}", receipt.outcome, receipt.reason, receipt.detail).into()),
            None => wait_until(deadline, "the receipt").await?,
        }
    }
}

async fn wait_until(deadline: Instant, what: &str) -> Result<(), Failure> {
    if Instant::now() > deadline {
        return Err(format!("waited {} s for {what}", PATIENCE.as_secs()).into());
    }
    tokio::time::sleep(LOOK_INTERVAL).await;
    Ok(())
}
