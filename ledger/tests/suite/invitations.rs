//! Invitations: what one must be, and what becomes of one that was changed anywhere.

use ledger::bounded::{Blob, List, Name, SortedList};
use ledger::encoding::{decode, encode};
use ledger::id::{ChainId, Digest};
use ledger::invitation::{Arrival, Invitation, InvitationError, NodeAddress, SignedInvitation};
use ledger::key::{PublicKey, SecretKey};
use ledger::patch::Label;

const CHAIN: ChainId = ChainId([7; 32]);
const NOW_MS: u64 = 1_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn operator() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// The one of the vectors.
pub(crate) fn example(chain_id: ChainId, operator: &SecretKey) -> SignedInvitation {
    Invitation { chain_id, expires_at_ms: 1_700_000_600_000, ..invitation(&[("site", "hamburg")]) }.sign(operator)
}

fn invitation(labels: &[(&str, &str)]) -> Invitation {
    let labels = labels.iter().map(|(key, value)| Label { key: name(key), value: name(value) });
    Invitation {
        chain_id: CHAIN,
        operator: PublicKey([0; 32]),
        nonce: 5,
        name: Some(name("web-1")),
        group: name("web"),
        labels: SortedList::new(labels.collect()).unwrap(),
        hosts_max: 3,
        expires_at_ms: NOW_MS + 1,
        nodes: List::new(vec![NodeAddress::new("https://a.example:7100").unwrap()]).unwrap(),
        roots: List::new(vec![Blob::new(vec![0x30, 3, 1, 2, 3]).unwrap()]).unwrap(),
    }
}

#[test]
fn what_was_signed_is_read_back_from_its_text_and_holds_until_it_expires() {
    let signed = invitation(&[("site", "hamburg")]).sign(&operator());
    let text = signed.to_string();
    assert!(text.starts_with("countersign1-") && !text.contains(['=', '+', '/', '\n']), "{text}");
    let read = SignedInvitation::parse(&format!("  {text}\n")).unwrap();
    assert_eq!((&read, read.digest()), (&signed, Digest::blake3(&encode(&signed))));
    assert_eq!(read.check(&CHAIN, NOW_MS).unwrap().operator, operator().public());
    let reserved = invitation(&[("invitation", "mine")]).sign(&operator());
    for (refused, word) in [
        (read.check(&CHAIN, NOW_MS + 1), "expired"),
        (read.check(&ChainId([8; 32]), NOW_MS), "chain-id"),
        (reserved.check(&CHAIN, NOW_MS), "labels"),
    ] {
        assert_eq!(refused.unwrap_err().check(), word);
    }
    let labels = read.labels();
    let told: Vec<_> = labels.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
    assert_eq!(told, [format!("invitation={}", hex::encode(&read.digest().0[..8])), "site=hamburg".to_owned()]);
}

#[test]
fn every_changed_letter_is_another_invitation_or_none() {
    let text = invitation(&[]).sign(&operator()).to_string();
    for place in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let judged = SignedInvitation::parse(&changed).and_then(|signed| signed.check(&CHAIN, NOW_MS).cloned());
        assert!(judged.is_err(), "letter {place}");
    }
    for cut in 0..text.len() {
        assert!(SignedInvitation::parse(&text[..cut]).is_err(), "cut at {cut}");
    }
    let long = format!("countersign1-{}", "A".repeat(1 << 20));
    assert!(matches!(SignedInvitation::parse(&long), Err(InvitationError::Text("it is too long"))));
}

#[test]
fn only_who_is_invited_arrives_and_only_with_its_own_key() {
    let (signed, host) = (invitation(&[]).sign(&operator()), SecretKey::from_seed(&[2; 32]));
    let arrival = Arrival { invitation: signed.digest(), endpoint: host.public(), name: name("web-1") };
    let signature = arrival.sign(&CHAIN, &host);
    arrival.check(&signed.invitation, &signature).unwrap();
    let word = |arrival: &Arrival, key: &SecretKey| {
        arrival.check(&signed.invitation, &arrival.sign(&CHAIN, key)).map_err(|error| error.check()).err()
    };
    assert_eq!(word(&Arrival { name: name("web-2"), ..arrival.clone() }, &host), Some("name"));
    assert_eq!(word(&arrival, &operator()), Some("signature"));
    // Another one's words do not fit.
    for other in [
        Arrival { invitation: Digest::ZERO, ..arrival.clone() },
        Arrival { endpoint: operator().public(), ..arrival.clone() },
    ] {
        assert_eq!(other.check(&signed.invitation, &signature).unwrap_err().check(), "signature");
    }
}

#[test]
fn the_labels_of_as_many_as_may_be_and_one_more_fit() {
    let labels: Vec<(String, &str)> = (0..15).map(|number| (format!("label-{number:02}"), "x")).collect();
    let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    assert_eq!(invitation(&labels).sign(&operator()).labels().len(), 16);
    let encoded = encode(&invitation(&labels).sign(&operator()));
    assert!(decode::<SignedInvitation>(&[&encoded[..], &[0]].concat()).is_err());
}
