//! Non-canonical encodings: the same transaction, or the same proof, in other bytes. There is one door, and one encoding
//! of everything: what is padded, permuted or goes on is refused, so that nothing ever has two ids.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::forge::rewritten;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, head_of, parsed};
use ledger::bounded::List;
use ledger::encoding::encode;
use ledger::key::Signature;
use ledger::patch::PatchManifest;
use ledger::proof::ProofBundle;
use ledger::transaction::Payload;

pub(super) const DRILL: Drill = Drill {
    name: "second-encodings",
    attack: "The same transaction, or the same proof, is written in other bytes.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/second-encodings";
/// A set of two, in its order.
const ADVISORIES: [&str; 2] = ["CVE-2024-0001", "CVE-2024-0002"];
/// The order of the curve's group, least byte first: what may be added to a signature where nobody looks.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let [first, second] = ADVISORIES;
    let advisories = ["--advisory", first, "--advisory", second];
    let manifest = stage.pack(PRODUCT, 1, &advisories).await?.manifest()?;
    let vendor = stage.steal("vendor-a", "publisher")?;
    let publication = Payload::Publish { manifest: manifest.clone() };
    let signed = vendor.sign(vendor.transaction(stage.chain()?, publication));
    let bytes = encode(&signed);

    let malformed = Promise::RefusedBy(&["malformed"]);
    for (tried, other) in others(&bytes, &manifest)? {
        let ending = stage.submit_bytes("a publication", other).await?;
        played.tried(format!("{tried}, in a transaction"), malformed, ending);
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    let ending = stage.submit_bytes("a publication", longer).await?;
    played.tried("a zero at the end of a transaction", Promise::RefusedBy(&["trailing"]), ending);
    let mut resigned = signed;
    resigned.signature = added_to(resigned.signature);
    let ending = stage.submit(&resigned).await?;
    played.tried("the same signature, plus the group's order", Promise::RefusedBy(&["signature"]), ending);
    played.control("the transaction as it was", stage.submit_bytes("a publication", bytes).await?);

    let packed = stage.pack(PRODUCT, 2, &advisories).await?;
    let (manifest, patch) = (packed.manifest()?, stage.approved(&packed).await?);
    let proof = parsed(&stage.proof(&patch).await?)?;
    let relay = stage.relay().await?;
    // What the agent's node says is no newer than the proof.
    relay.behave(|manners| (manners.head, manners.lists_nothing) = (Some(head_of(&proof)), true));
    let host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;
    let malformed = Promise::RefusedBy(&["proof-malformed"]);
    let mut forged: Vec<_> =
        others(&proof.bytes(), &manifest)?.into_iter().map(|(tried, other)| (tried, malformed, other)).collect();
    forged.push(("approvals in another order", malformed, with(&proof, |it| backwards(&mut it.approvals))));
    forged.push((
        "organisations in another order",
        malformed,
        with(&proof, |it| backwards(&mut it.state.organisations)),
    ));
    let resigned = with(&proof, |it| {
        let transaction = &mut it.publish.transaction;
        transaction.signature = added_to(transaction.signature);
    });
    forged.push((
        "the same signature, plus the group's order",
        Promise::RefusedBy(&["inclusion", "signature"]),
        resigned,
    ));
    for (tried, promise, other) in forged {
        let file = stage.write("other.proof", &other)?;
        let both = vec![stage.verify(&file).await?, host.apply_from(&patch, &file).await?];
        played.tried_often(format!("{tried}, in a proof"), promise, both);
    }
    let file = stage.write("same.proof", &proof.bytes())?;
    played.control("the proof as it was, to `verify`", stage.verify(&file).await?);
    played.control("the proof as it was, to `apply --from`", host.apply_from(&patch, &file).await?);
    Ok(played)
}

/// Bytes in which a manifest is written, with that manifest written in other ones.
fn others(bytes: &[u8], manifest: &PatchManifest) -> Result<Vec<(&'static str, Vec<u8>)>, AttackError> {
    let [first, second] = ADVISORIES.map(|advisory| encode(&advisory));
    let set = [first.as_slice(), &second].concat();
    let shortened = [&first[..1], &first[8..]].concat();
    let padded = [&[251, first[0], 0][..], &first[8..]].concat();
    let nothing = || AttackError::Stage("nothing was packed".to_owned());
    let artifact = manifest.artifacts.first().map(encode).ok_or_else(nothing)?;
    // Its last field is an option, and empty.
    let mut two = artifact.clone();
    two.last_mut().into_iter().for_each(|byte| *byte = 2);
    Ok(vec![
        ("a set in another order", rewritten(bytes, &set, &[second.as_slice(), &first].concat())?),
        ("a set with one thing twice", rewritten(bytes, &set, &[first.as_slice(), &first].concat())?),
        ("a length in one byte", rewritten(bytes, &first, &shortened)?),
        ("a length of varying width, padded", rewritten(bytes, &first, &padded)?),
        ("an option that is neither there nor not", rewritten(bytes, &artifact, &two)?),
    ])
}

/// A proof with something about it changed.
fn with(proof: &ProofBundle, change: impl FnOnce(&mut ProofBundle)) -> Vec<u8> {
    let mut proof = proof.clone();
    change(&mut proof);
    proof.bytes()
}

/// A list from its end. As many elements are within its bound.
fn backwards<T: Clone, const MAX: usize>(list: &mut List<T, MAX>) {
    let elements = list.iter().rev().cloned().collect();
    *list = List::new(elements).unwrap_or_default();
}

/// A signature that holds as well by the equation alone: its number is another one of the same remainder.
fn added_to(signature: Signature) -> Signature {
    let Signature(mut bytes) = signature;
    let mut carry = 0;
    for (byte, of_the_order) in bytes[32..].iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(of_the_order) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    Signature(bytes)
}
