//! Malicious mirrors: web servers between a host and its patch, and the cache of another host, give something else, too
//! much, too little, too slowly, or lead elsewhere. Nothing of theirs is written, and whoever is honest is asked next.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::Promise;
use crate::attack::mirror::{Lies, Mirror};
use crate::attack::relay::Serves;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, wait_for};
use crate::attack::tool;
use serde_json::Value;
use std::fs;
use std::path::Path;

pub(super) const DRILL: Drill = Drill {
    name: "lying-mirrors",
    attack: "Mirrors and a cache give wrong bytes, endless ones, too few, or lead elsewhere.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/lying-mirrors";
/// The agent's patience with a source, shorter than people would have it.
const PATIENCE: &str = "[download]\nminimum_bytes_per_s = 4096\npatience_ms = 1000\n";
/// What may be sent beyond an artifact before a mirror notices that nobody listens: buffers on the way.
const BEYOND_MAX: u64 = 8 * 1024 * 1024;
/// How a mirror may call another server: by another name, as another port of its own host, without a scheme.
const ELSEWHERE: [(&str, &str); 3] = [
    ("sent on to another host", "http://localhost"),
    ("sent on to another port", "http://127.0.0.1"),
    ("sent on to another host, by what is no address", "//localhost"),
];
/// What each lie is refused by.
const LIES: [(Lies, &str, &[&str]); 7] = [
    (Lies::WrongBytes, "wrong bytes", &["artifact-digest"]),
    (Lies::WrongTrees, "a hash tree of something else", &["artifact-digest"]),
    (Lies::Endless, "zeros for ever", &["artifact-digest"]),
    (Lies::TooFew, "half of it", &["artifact-length"]),
    (Lies::Drips, "a byte a second", &["artifact-unavailable"]),
    (Lies::InCircles, "redirects in circles", &["artifact-unavailable"]),
    (Lies::HugeHead, "headers for ever", &["artifact-unavailable"]),
];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let packed = stage.pack(PRODUCT, 1, &[]).await?;
    let (patch, size) = (stage.approved(&packed).await?, packed.artifact_bytes()?);
    let shelf = stage.place("mirror");
    let out = shelf.display().to_string();
    tool::answer("countersign", &["artifact", "export", "--packed", &packed.path(), "--out", &out, "-o", "json"])
        .await?;

    // A node that has the proofs and not the artifact: what comes of a lie shows when there is nobody else.
    let empty = stage.relay().await?;
    empty.behave(|manners| (manners.serves, manners.lists_nothing) = (Serves::Nothing, true));
    let (liar, honest) = (Mirror::of(&shelf).await?, Mirror::of(&shelf).await?);
    let alone = format!("{PATIENCE}{}", source(&liar.url));
    let alone = Kind { products: &[PRODUCT], nodes: &[&empty.url], more: &alone, ..Kind::default() };
    for (lies, tried, check) in LIES {
        liar.tell(lies);
        let ending = stage.host(alone)?.apply(&patch).await?;
        played.tried(format!("{tried}, and nobody else"), Promise::RefusedBy(check), ending);
    }
    liar.tell(Lies::Never);
    played.control("the same mirror, honest", stage.host(alone)?.apply(&patch).await?);

    let both = format!("{alone}{}", source(&honest.url), alone = alone.more);
    let both = Kind { more: &both, ..alone };
    for (lies, tried, _) in LIES {
        liar.tell(lies);
        let (lied, helped) = (liar.asked(), honest.asked());
        let ending = stage.host(both)?.apply(&patch).await?;
        played.tried(format!("{tried}, and an honest mirror beside"), Promise::Finishes, ending);
        if liar.asked() == lied || honest.asked() == helped {
            return Err(AttackError::Stage("one of the two mirrors was not asked".to_owned()));
        }
    }
    // Seven times endless would be without a bound; each of the lies is let go by itself.
    let times = 2 * LIES.len() as u64;
    played.measured("bytes a lying mirror sent", liar.sent(), times * (size + BEYOND_MAX));
    led_elsewhere(stage, &patch, (&liar, alone), &Mirror::of(&shelf).await?, &mut played).await?;
    spoiled_cache(stage, &patch, (&empty.url, &honest.url), &mut played).await?;
    Ok(played)
}

/// A mirror sends hosts on to a server that has the artifact, and that nobody named to them: it might be any of their
/// network's. Nobody even connects to it.
async fn led_elsewhere(
    stage: &mut Stage,
    patch: &str,
    (liar, alone): (&Mirror, Kind<'_>),
    other: &Mirror,
    played: &mut Played,
) -> Result<(), AttackError> {
    for (tried, start) in ELSEWHERE {
        liar.tell(Lies::Elsewhere(start, other.port()));
        let ending = stage.host(alone)?.apply(patch).await?;
        played.tried(tried, Promise::RefusedBy(&["artifact-unavailable"]), ending);
    }
    played.measured("connections to whom a mirror named", other.asked(), 0);

    liar.tell(Lies::Elsewhere("http://localhost", other.port()));
    let named = format!("{}redirects_to = [\"localhost\"]\n", alone.more);
    let named = Kind { more: &named, ..alone };
    played.control("sent on to whom the configuration names", stage.host(named)?.apply(patch).await?);
    match other.asked() {
        0 => Err(AttackError::Stage("nobody was sent on".to_owned())),
        _ => Ok(()),
    }
}

fn source(url: &str) -> String {
    format!("[[sources]]\nkind = \"mirror\"\nurl = {url:?}\n")
}

/// The cache of another host, in which somebody changed a byte.
async fn spoiled_cache(
    stage: &mut Stage,
    patch: &str,
    (empty, honest): (&str, &str),
    played: &mut Played,
) -> Result<(), AttackError> {
    let more = format!("[cache]\nlisten = \"127.0.0.1:0\"\n{}", source(honest));
    let mut keeper = stage.host(Kind { products: &[PRODUCT], nodes: &[empty], more: &more, ..Kind::default() })?;
    stage.start(&mut keeper).await?;
    played.control("a host with a cache", keeper.apply(patch).await?);
    let at = wait_for("a cache that listens", async || listens(&keeper).await).await?;
    let cache = source(&format!("http://{at}"));
    let alone = format!("{PATIENCE}{cache}");
    let alone = Kind { products: &[PRODUCT], nodes: &[empty], more: &alone, ..Kind::default() };
    played.control("the cache of another host, honest", stage.host(alone)?.apply(patch).await?);

    spoil(&keeper.agent.data_dir.join("cache"))?;
    let ending = stage.host(alone)?.apply(patch).await?;
    played.tried("a spoiled cache, and nobody else", Promise::RefusedBy(&["artifact-digest"]), ending);
    let both = format!("{}{}", alone.more, source(honest));
    let ending = stage.host(Kind { more: &both, ..alone })?.apply(patch).await?;
    played.tried("a spoiled cache, and an honest mirror beside", Promise::Finishes, ending);
    stage.stop(&mut keeper)
}

/// Where the cache of a host listens, once it holds something.
async fn listens(host: &Host) -> Result<Option<String>, AttackError> {
    let status = host.status().await?;
    let cache = status.get("cache").filter(|cache| cache.get("artifacts").and_then(Value::as_u64) > Some(0));
    Ok(cache.and_then(|cache| cache.get("listens")?.as_str()).map(str::to_owned))
}

/// Turns a bit over in every artifact of a cache; the trees stay as they are.
fn spoil(cache: &Path) -> Result<(), AttackError> {
    let failed = || AttackError::io("cannot spoil a cache");
    for shelf in fs::read_dir(cache).map_err(failed())?.flatten().filter(|entry| entry.path().is_dir()) {
        for entry in fs::read_dir(shelf.path()).map_err(failed())?.flatten() {
            let path = entry.path();
            if path.extension().is_none() {
                let mut bytes = fs::read(&path).map_err(failed())?;
                let middle = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 1;
                }
                fs::write(&path, bytes).map_err(failed())?;
            }
        }
    }
    Ok(())
}
