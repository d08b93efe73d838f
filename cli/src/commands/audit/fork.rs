//! `countersign audit fork`: two histories, and the first height at which they differ.

use super::side::Side;
use super::trust_root;
use super::view::ForkView;
use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::trust::Trust;
use clap::Args;
use ledger::certificate::FinalizedHeader;
use ledger::evidence::CertifiedHeader;
use ledger::fork::{EvidenceFile, Fork as LedgerFork};
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, EXIT_REFUSED};

/// Heights looked at after the first that differs, for two certificates of one round.
const LOOK_ON_MAX: usize = 256;

/// Compare two histories.
#[derive(Debug, Args)]
#[command(after_help = "\
Each side is the address of a node, a head file (`countersign chain show --out`) or a proof file. Both are proven from \
the trust root, through every change of the validators; then the first height at which they differ is looked for. Where \
both certificates there are of one round, exactly those who signed both did it. Where they are of two rounds nobody can \
be named from them: an honest validator may have signed both. Then higher blocks of both sides are looked at, too. A \
node that keeps no old blocks is compared from where it keeps them: they may differ earlier then. With two nodes, --ca \
has the roots of both.
Exit codes: 0 no fork, 1 the ledger was forked, 2 a side that cannot be looked at or proves nothing, or nothing to compare.
JSON: {\"fork\": true, \"height\", \"may_be_earlier\", \"shown_height\", \"sides\": [{\"side\", \"hash\", \"round\", \"time_ms\", \"signers\": \
[{\"key\", \"organisation\"}]}], \"equivocators\": [{\"key\", \"organisation\"}], \"why_nobody\", \"file\"} or {\"fork\": \
false, \"same_up_to\"}

Examples:
  countersign audit fork https://a.example:7101 https://b.example:7101 \\
      --trust genesis --out fork.evidence
  countersign audit fork bank.head redis.proof --trust genesis")]
pub struct Fork {
    /// One side: a node's address, a head file or a proof file
    a: String,
    /// The other side
    b: String,
    /// The trust root: the genesis file you were given; --genesis if not given
    #[arg(long, value_name = "GENESIS")]
    trust: Option<PathBuf>,
    /// Where to write the evidence, if there is any
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct SameView {
    fork: bool,
    same_up_to: u64,
}

/// What both sides have at one height.
type Pair = (FinalizedHeader, FinalizedHeader);

impl Fork {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let trust = trust_root(self.trust.as_deref(), global)?;
        let (a, b) = (Side::open(&self.a, global, &trust).await?, Side::open(&self.b, global, &trust).await?);
        let mut both = Both { a, b, trust };
        let heights = both.heights()?;
        let difference = match both.compare(&heights).await? {
            Compared::Same { up_to } => return Ok(same(up_to)),
            Compared::Different(difference) => difference,
        };
        let (height, is_first) = (heights.at(difference.place), difference.is_first);
        let shown = both.of_one_round(&heights, *difference).await?;
        both.answer(height, is_first, shown, self.out.as_ref())
    }
}

fn same(up_to: u64) -> Answer {
    let text =
        format!("No fork: both sides have the same blocks, as far as they can be compared: up to height {up_to}.\n");
    Answer::new(text, &SameView { fork: false, same_up_to: up_to })
}

/// What came of a comparison.
enum Compared {
    /// They have one history.
    Same { up_to: u64 },
    /// They have two.
    Different(Box<Difference>),
}

/// The lowest place found at which both sides differ.
struct Difference {
    place: u64,
    pair: Pair,
    /// Whether they are the same below. Not known where one of them keeps no block there.
    is_first: bool,
}

/// Heights at which both sides have a header: all up to one, or these.
enum Heights {
    UpTo(u64),
    These(Vec<u64>),
}

impl Heights {
    fn len(&self) -> u64 {
        match self {
            Self::UpTo(top) => *top,
            Self::These(heights) => heights.len() as u64,
        }
    }

    /// By place, from 0.
    fn at(&self, place: u64) -> u64 {
        match self {
            Self::UpTo(_) => place + 1,
            Self::These(heights) => {
                usize::try_from(place).ok().and_then(|place| heights.get(place)).copied().unwrap_or(0)
            }
        }
    }
}

struct Both {
    a: Side,
    b: Side,
    trust: Trust,
}

impl Both {
    fn heights(&self) -> Result<Heights, Failure> {
        let top = self.a.tip().min(self.b.tip());
        let heights = match (self.a.heights(), self.b.heights()) {
            (None, None) => return Ok(Heights::UpTo(top)),
            (Some(a), Some(b)) => a.into_iter().filter(|height| b.contains(height)).collect(),
            (Some(these), None) | (None, Some(these)) => these.into_iter().filter(|height| *height <= top).collect(),
        };
        let heights: Vec<u64> = heights;
        if heights.is_empty() { Err(self.nothing_in_common()) } else { Ok(Heights::These(heights)) }
    }

    fn nothing_in_common(&self) -> Failure {
        Failure::usage(
            format!("{} and {} have no height in common: there is nothing to compare", self.a.name, self.b.name),
            "name a node for one side, one that keeps old blocks where the other is far behind, or take both headers at \
             one height: `countersign chain show HEIGHT --out FILE`",
        )
    }

    /// What they have at a height, if both have something there.
    async fn pair(&mut self, height: u64) -> Result<Option<Pair>, Failure> {
        let (a, b) = (self.a.at(height, &self.trust).await?, self.b.at(height, &self.trust).await?);
        Ok(a.zip(b))
    }

    /// Looks for the lowest place at which they differ. A block names the one before it, so from there on they
    /// differ everywhere.
    async fn compare(&mut self, heights: &Heights) -> Result<Compared, Failure> {
        // The newest first: of two histories that are one, nothing else needs to be looked at.
        let Some((newest, pair)) = self.newest(heights).await? else {
            return match heights.len() {
                // Nothing is final yet on one of the sides.
                0 => Ok(Compared::Same { up_to: 0 }),
                _ => Err(self.nothing_in_common()),
            };
        };
        if is_same(&pair) {
            return Ok(Compared::Same { up_to: heights.at(newest) });
        }
        let (mut same, mut lowest) = (0, Difference { place: newest, pair, is_first: true });
        while same < lowest.place {
            let place = same + (lowest.place - same) / 2;
            match self.pair(heights.at(place)).await? {
                Some(pair) if !is_same(&pair) => (lowest.place, lowest.pair) = (place, pair),
                // Whoever keeps nothing here keeps nothing below: what is found so far is not thrown away.
                looked => (same, lowest.is_first) = (place + 1, looked.is_some()),
            }
        }
        Ok(Compared::Different(Box::new(lowest)))
    }

    /// The highest place at which both have something. All nodes keep their newest blocks; an old header of a file
    /// may be none that a node keeps.
    async fn newest(&mut self, heights: &Heights) -> Result<Option<(u64, Pair)>, Failure> {
        let lowest = if matches!(heights, Heights::UpTo(_)) { heights.len().saturating_sub(1) } else { 0 };
        for place in (lowest..heights.len()).rev() {
            if let Some(pair) = self.pair(heights.at(place)).await? {
                return Ok(Some((place, pair)));
            }
        }
        Ok(None)
    }

    /// That pair, or the first one after it whose certificates are of one round.
    async fn of_one_round(&mut self, heights: &Heights, first: Difference) -> Result<Pair, Failure> {
        let Difference { place, pair: first, .. } = first;
        let is_of_one_round = |pair: &Pair| pair.0.certificate().round == pair.1.certificate().round;
        if is_of_one_round(&first) {
            return Ok(first);
        }
        for place in (place + 1..heights.len()).take(LOOK_ON_MAX) {
            if let Some(pair) = self.pair(heights.at(place)).await?.filter(is_of_one_round) {
                return Ok(pair);
            }
        }
        Ok(first)
    }

    fn answer(&self, height: u64, is_first: bool, shown: Pair, out: Option<&PathBuf>) -> Result<Answer, Failure> {
        let side = |side: &Side, header: &FinalizedHeader| {
            let head = CertifiedHeader { header: header.header().clone(), certificate: header.certificate().clone() };
            (side.epochs_before(header.header().height), head)
        };
        let fork = LedgerFork::of(side(&self.a, &shown.0), side(&self.b, &shown.1))
            .map_err(|error| Failure::usage(format!("too many changes of the validators for one file: {error}"), ""))?;
        // By the code whoever gets the file will use.
        let proven = fork
            .verify(self.trust.root())
            .map_err(|error| Failure::usage(format!("refused by check {}: {error}", error.check()), ""))?;
        let mut view = ForkView::new(height, &proven, [&self.a.name, &self.b.name]);
        view.may_be_earlier = Some(!is_first);
        if let Some(out) = out {
            let bytes = EvidenceFile::fork(self.trust.chain_id(), fork).bytes();
            files::write_once(out, &bytes, files::PUBLIC_MODE)?;
            view.file = Some(out.display().to_string());
        }
        Ok(Answer::new(view.text(), &view).with_code(EXIT_REFUSED))
    }
}

fn is_same((one, other): &Pair) -> bool {
    one.hash() == other.hash()
}
