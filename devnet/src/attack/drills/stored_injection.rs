//! Stored injection: somebody writes into a patch what would act on the terminal of whoever looks at a host. Control
//! characters never get into the ledger; what else could act, and what a patch's own programs say, is shown written out.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::forge::rewritten;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::{Packed, Stage};
use ledger::encoding::encode;
use ledger::key::Purpose;
use ledger::transaction::Payload;
use serde_json::json;
use terminal::escape;

pub(super) const DRILL: Drill = Drill {
    name: "stored-injection",
    attack: "A patch has in its texts what acts on a terminal, and its health check says such things.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/stored-injection";
/// What clears a screen.
const CLEARS: &[u8] = b"\x1b[2J";
/// What stands in its place until then.
const MARK: &str = "QQQQ";
/// What begins a line of its own that was never said, turns the direction of what follows, and cannot be seen.
const HOSTILE: &str = "2\ninstalled  everything\u{202e}gnp\u{200b}\u{2028}";
/// How the line would begin.
const FORGED: &str = "installed  everything";
/// A check that fails, and clears the screen and rings the bell.
const LOUD_HEALTH: &[&str] =
    &["--health-command", "/usr/bin/printf \\033[2J\\007", "--expect", "fine", "--probe-attempts", "1"];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let packed = stage.pack(PRODUCT, 1, &["--title", MARK]).await?;
    let (vendor, chain) = (stage.steal("vendor-a", "publisher")?, stage.chain()?);
    let publication = vendor.transaction(chain, Payload::Publish { manifest: packed.manifest()? });
    // Signed as it is: nothing but its texts is wrong with it.
    let body = rewritten(&encode(&publication), MARK.as_bytes(), CLEARS)?;
    let signature = vendor.0.sign(Purpose::Transaction, &chain, &body);
    let ending = stage.submit_bytes("a publication", [body, encode(&signature)].concat()).await?;
    played.tried("an escape sequence, in a transaction", Promise::RefusedBy(&["malformed"]), ending);

    let plain = stage.approved(&packed).await?;
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    let proof = rewritten(&stage.proof(&plain).await?, MARK.as_bytes(), CLEARS)?;
    let file = stage.write("escape.proof", &proof)?;
    let both = vec![stage.verify(&file).await?, host.apply_from(&plain, &file).await?];
    played.tried_often("an escape sequence, in a proof", Promise::RefusedBy(&["proof-malformed"]), both);

    let hostile = stage.approved(&with_hostile_texts(stage.pack(PRODUCT, 2, &[]).await?)?).await?;
    played.control("a patch with what is no control character", host.apply(&hostile).await?);
    let loud = stage.approved(&with_hostile_texts(stage.pack(PRODUCT, 3, LOUD_HEALTH).await?)?).await?;
    let mut shown = Shown::default();
    for (command, written_out) in [
        (&["apply", loud.as_str()][..], "\\u{1b}[2J"),
        (&["status"], "\\u{202e}gnp"),
        (&["why", hostile.as_str()], "\\u{202e}gnp"),
        (&["why", loud.as_str()], "\\u{202e}gnp"),
        (&["apply", hostile.as_str()], "\\u{202e}gnp"),
    ] {
        let said = shown.look(&host, command, "table").await?;
        let ending = match said.contains(written_out) {
            true => Ending::Done { what: "it stands there, written out".to_owned() },
            false => Ending::Neither { what: format!("{written_out} is not in {}", escape(&said)) },
        };
        played.control(format!("`{}` shows it", command[0]), ending);
        shown.look(&host, command, "json").await?;
    }
    shown.look(&host, &["doctor"], "table").await?;
    played.measured("what acts on a terminal", shown.acts, 0);
    played.measured("lines that nobody said", shown.forged, 0);
    Ok(played)
}

/// A patch whose texts are as bad as they may be.
fn with_hostile_texts(packed: Packed) -> Result<Packed, AttackError> {
    packed.rewrite("", |manifest| {
        for text in ["version", "title", "notes"] {
            manifest[text] = json!(HOSTILE);
        }
    })?;
    Ok(packed)
}

/// What must not be in anything that is shown.
#[derive(Default)]
struct Shown {
    acts: u64,
    forged: u64,
}

impl Shown {
    /// Looks at what a host writes; the answer.
    async fn look(&mut self, host: &Host, command: &[&str], format: &str) -> Result<String, AttackError> {
        let output = host.written(command, format).await?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = answer.lines().filter(|line| escape(line) != **line).count();
        // Of the log, which is no answer, not more than control characters.
        let log = String::from_utf8_lossy(&output.stderr);
        let controls = log.chars().filter(|c| c.is_control() && *c != '\n').count();
        self.acts += (lines + controls) as u64;
        self.forged += answer.lines().filter(|line| line.starts_with(FORGED)).count() as u64;
        Ok(answer)
    }
}
