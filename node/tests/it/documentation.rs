//! The limits a client can meet are those the protocol's document says.

use consensus::member::MempoolLimits;
use node::artifacts::{
    ArtifactLimits, Expected, OF_CLIENTS, OF_PEERS, TRANSFERS_MAX, UPLOADS_MAX, UPLOADS_PER_ORGANISATION_MAX,
};
use node::inventories::InventoryLimits;
use node::replicate::{FETCHES_MAX, FETCHES_PER_ORGANISATION_MAX, FETCHES_PER_SOURCE_MAX, WANTED_PER_ORGANISATION_MAX};
use node::{desk, grpc, network, shell, verifier};
use std::path::Path;
use std::time::Duration;

/// The row of section 11.2 that begins with these words.
fn row<'a>(document: &'a str, words: &str) -> &'a str {
    let section = document.split("**11.2**").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    section.lines().find(|line| line.starts_with(&format!("| {words}"))).unwrap_or_else(|| panic!("no row {words}"))
}

/// A number as the document writes it: 65,536.
fn written(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

fn pace(expected: Expected) -> Vec<String> {
    let Expected { bytes_per_window_min, window, allowance, bytes_per_second } = expected;
    vec![seconds(window), written(bytes_per_window_min), seconds(allowance), written(bytes_per_second)]
}

#[test]
fn the_document_has_the_numbers_of_the_code() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (pool, store) = (MempoolLimits::default(), ArtifactLimits::default());
    let numbers = |numbers: &[usize]| numbers.iter().map(|number| written(*number as u64)).collect::<Vec<_>>();
    let of_message =
        numbers(&[grpc::MESSAGE_BYTES_MAX, grpc::UPLOAD_MESSAGE_BYTES_MAX, grpc::MESSAGE_BYTES_PER_SECOND]);
    let of_message =
        [of_message, [grpc::MESSAGE_PATIENCE, grpc::STREAM_MESSAGE_PATIENCE].map(seconds).to_vec()].concat();
    let mebibytes = |bytes: &[usize]| bytes.iter().map(|bytes| format!("{} MiB", bytes >> 20)).collect::<Vec<_>>();
    let intake = mebibytes(&[grpc::INTAKE_BYTES_MAX, grpc::INTAKE_PER_ADDRESS_BYTES_MAX]);
    let answers = mebibytes(&[grpc::ANSWERS_BYTES_MAX, grpc::ANSWERS_PER_ADDRESS_BYTES_MAX]);
    let own_answers =
        [mebibytes(&[grpc::OWN_ANSWERS_BYTES_MAX]), numbers(&[grpc::OWN_ANSWERS_PER_ADDRESS_BYTES_MAX])].concat();
    let short_answers = [
        numbers(&[grpc::SHORT_ANSWER_BYTES]),
        mebibytes(&[grpc::SHORT_ANSWERS_BYTES_MAX, grpc::SHORT_ANSWERS_PER_ADDRESS_BYTES_MAX]),
    ]
    .concat();
    let forgeries = [vec![seconds(desk::FORGERY_COST)], numbers(&[desk::FORGERIES_MAX])].concat();
    let greetings = numbers(&[network::GREETINGS_MAX, network::GREETINGS_PER_ADDRESS_MAX]);
    let gibibytes = |bytes: u64| vec![format!("{} GiB", bytes >> 30)];
    let rows = [
        ("transactions that wait", numbers(&[pool.transactions_max, pool.bytes_max])),
        ("… of one organisation | 6", numbers(&[pool.per_organisation_max, pool.per_organisation_bytes_max])),
        (
            "artifacts stored",
            [vec![format!("{} TiB", store.bytes_max >> 40)], gibibytes(store.left_free_bytes_max)].concat(),
        ),
        ("… of one organisation | 2", gibibytes(store.per_organisation_bytes_max)),
        ("requests that are not", [intake, numbers(&[grpc::REQUEST_BYTES])].concat()),
        ("answers that are not", [answers, vec![seconds(grpc::ROOM_PATIENCE)], numbers(&[grpc::HEAD_BYTES])].concat()),
        ("… of addresses' own", own_answers),
        ("… of a stream", numbers(&[grpc::HEAD_BYTES, grpc::ARTIFACT_PIECE_BYTES, grpc::PIECE_BYTES])),
        ("… of one message", short_answers),
        ("transactions of clients", forgeries),
        (
            "signatures of clients",
            [
                numbers(&[verifier::QUICK_BATCH_MAX]),
                [verifier::QUICK_PER_KEY, verifier::QUICK_PER_ADDRESS, verifier::QUICK_PER_NETWORK]
                    .map(|rate| written(rate.into()))
                    .to_vec(),
            ]
            .concat(),
        ),
        ("connections of clients", numbers(&[grpc::CONNECTIONS_MAX])),
        (
            "a connection without",
            vec![seconds(grpc::FIRST_REQUEST_MAX), format!("{} min", grpc::REST_MAX.as_secs() / 60)],
        ),
        (
            "an address that is known",
            [
                vec![format!("{} days", grpc::KNOWN_FOR.as_secs() / 86_400)],
                numbers(&[grpc::KNOWN_MAX, grpc::KNOWN_PER_COMPANY_MAX]),
            ]
            .concat(),
        ),
        ("requests under way", vec![format!("{} streams of answers", grpc::STREAMS_OF_ANSWERS_MAX)]),
        ("a connection that has answers", pace(OF_CLIENTS)[..2].to_vec()),
        ("waiting to be heard from all", numbers(&[shell::BATCH_BYTES])),
        ("… from all clients", mebibytes(&[shell::BULK_OF_CLIENTS_BYTES_MAX])),
        (
            "waiting to be heard from one",
            mebibytes(&[shell::URGENT_PER_PEER_BYTES_MAX, shell::BULK_PER_PEER_BYTES_MAX]),
        ),
        (
            "signatures of what one peer brings",
            [vec![written(verifier::QUICK_PER_PEER.into())], numbers(&[verifier::QUICK_BATCH_MAX])].concat(),
        ),
        ("signatures of what one peer brings", numbers(&[network::ASIDE_PER_PEER_BYTES_MAX])),
        ("a message of a request", of_message),
        ("sent on one connection", numbers(&[grpc::UNREAD_BYTES_MAX as usize])),
        ("uploads at once", numbers(&[UPLOADS_MAX, UPLOADS_PER_ORGANISATION_MAX])),
        ("calls that wait", numbers(&[desk::WAITING_MAX, desk::WAITING_FOR_ONE_MAX])),
        ("snapshots being read", numbers(&[grpc::SNAPSHOTS_MAX, grpc::SNAPSHOTS_PER_ADDRESS_MAX])),
        ("connections of peers", [greetings, vec![seconds(network::GREETING_TIMEOUT)]].concat()),
        (
            "connections with one peer",
            numbers(&[
                network::CONNECTIONS_PER_PEER_MAX as usize,
                network::STREAMS_PER_CONNECTION_MAX,
                consensus::member::WORDS_MAX as usize,
            ]),
        ),
        ("a node that is only taught", vec![format!("{} min", network::LESSON_MAX.as_secs() / 60)]),
        ("a peer without a word", vec![seconds(network::WORDLESS_MAX)]),
        ("inventories of all", gibibytes(InventoryLimits::default().bytes_max)),
        (
            "… of one endpoint",
            numbers(&[
                InventoryLimits::default().history_max,
                usize::try_from(InventoryLimits::default().per_endpoint_bytes_max).unwrap(),
            ]),
        ),
        ("downloads at once", numbers(&[TRANSFERS_MAX, TRANSFERS_MAX / 4])),
        ("a transfer to or from a client", pace(OF_CLIENTS)),
        ("a transfer to or from a node", pace(OF_PEERS)),
        ("fetches of missing", numbers(&[FETCHES_MAX, FETCHES_PER_SOURCE_MAX, FETCHES_PER_ORGANISATION_MAX])),
        ("missing artifacts of one", numbers(&[WANTED_PER_ORGANISATION_MAX])),
    ];
    for (words, numbers) in rows {
        let row = row(&document, words);
        assert!(numbers.iter().all(|number| row.contains(number)), "{row} should have {numbers:?}");
    }
}

#[test]
fn the_document_says_how_fast_a_node_refuses() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let document = std::fs::read_to_string(document).unwrap();
    let pace = format!(
        "after {} ms, and a stream is not read meanwhile; while a node refuses more than {} transactions a second, after \
         as long as keeps it at that pace, and {} at most",
        grpc::REFUSAL_PAUSE_MIN.as_millis(),
        written(grpc::REFUSED_PER_SECOND.into()),
        seconds(grpc::REFUSAL_PAUSE_MAX),
    );
    assert!(document.contains(&pace), "{pace}");
}
