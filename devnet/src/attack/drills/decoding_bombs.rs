//! Decoding bombs: input that is small and claims to be large, or simply is large. Limits come before any memory is
//! set aside, at every door.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

pub(super) const DRILL: Drill = Drill {
    name: "decoding-bombs",
    attack: "A proof file, or a request, claims to be enormous, or is.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/decoding-bombs";
/// What claims to be a list of 2^64 - 1 elements.
const BOMB: [u8; 9] = [253, 255, 255, 255, 255, 255, 255, 255, 255];
/// A file without anything in it.
const SPARSE_BYTES: u64 = 1 << 30;
/// What nobody meant.
const GARBAGE_BYTES: usize = 64 * 1024;
/// Of a request, more than any can have.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// What the agent's memory may grow by.
const MEMORY_GROWTH_MAX: u64 = 32 * 1024 * 1024;

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let relay = stage.relay().await?;
    let head = stage.head().await?;
    relay.behave(|manners| (manners.head, manners.lists_nothing) = (Some(head), true));
    let proof = stage.proof(&patch).await?;
    let mut host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;
    stage.start(&mut host).await?;
    // What it has when it answers is what it needs anyway.
    let before = host.memory_peak()?;

    let garbage: Vec<u8> = (0..GARBAGE_BYTES).map(|place| (place * 131 % 251) as u8).collect();
    let sparse = stage.write("sparse.proof", &[])?;
    let opened = File::options().write(true).open(&sparse).and_then(|file| file.set_len(SPARSE_BYTES));
    opened.map_err(AttackError::io("cannot make a sparse file"))?;
    let malformed = Promise::RefusedBy(&["proof-malformed"]);
    for (tried, file, promise) in [
        ("nine bytes", stage.write("bomb.proof", &BOMB)?, malformed),
        ("nothing", stage.write("empty.proof", &[])?, malformed),
        ("garbage", stage.write("garbage.proof", &garbage)?, malformed),
        ("1 GiB of nothing", sparse, Promise::RefusedBy(&["proof-size"])),
    ] {
        let both = vec![stage.verify(&file).await?, host.apply_from(&patch, &file).await?];
        played.tried_often(tried, promise, both);
    }
    let endless = vec![b'{'; REQUEST_BYTES];
    let mut answers = Vec::new();
    for request in [&BOMB[..], &garbage, &endless] {
        answers.push(ask(&host.agent.data_dir, request).await?);
    }
    played.tried_often("the same to its control socket", Promise::RefusedBy(&["error"]), answers);
    played.measured("memory more than before, bytes", host.memory_peak()?.saturating_sub(before), MEMORY_GROWTH_MAX);

    let file = stage.write("good.proof", &proof)?;
    played.control("a good proof, after all of that", host.apply_from(&patch, &file).await?);
    stage.stop(&mut host)?;
    Ok(played)
}

/// Sends a line to an agent's control socket; what it says to it.
async fn ask(data: &Path, request: &[u8]) -> Result<Ending, AttackError> {
    // Through the open directory: a socket's path may have 108 bytes, and this one may be longer.
    let held = File::open(data).map_err(AttackError::io("cannot open the agent's data directory"))?;
    let socket = format!("/proc/self/fd/{}/control.sock", held.as_raw_fd());
    let mut stream = UnixStream::connect(socket).await.map_err(AttackError::io("cannot reach the control socket"))?;
    // It may have heard enough before all of it is said.
    let _ = stream.write_all(request).await;
    let _ = stream.write_all(b"\n").await;
    let mut answer = Vec::new();
    // What was not read by the other side may break the line behind its answer.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(match answer.starts_with("{\"error\"") {
        true => Ending::Refused { check: "error".to_owned(), detail: answer },
        false => Ending::Neither { what: format!("it said {answer:?}") },
    })
}
