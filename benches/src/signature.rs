//! The machine's own limit: how fast it checks one signature.

use crate::figure::Figure;
use ledger::id::ChainId;
use ledger::key::{Purpose, SecretKey};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Samples, of so many checks each.
const SAMPLES: usize = 40;
const CHECKS_PER_SAMPLE: usize = 50;
/// Bytes signed: with the signature, a transaction of 300 bytes.
const BODY_BYTES: usize = 236;

/// What the machine can do.
pub(crate) struct SignatureLimit {
    /// Transactions per second that four validators on this machine can check, each all of them.
    pub(crate) transactions_per_s: f64,
}

/// Measures the predicate every transaction passes.
pub(crate) fn measure(results: &Path) -> Result<SignatureLimit, Box<dyn Error>> {
    let key = SecretKey::from_seed(&[7; 32]);
    let (public, chain, body) = (key.public(), ChainId([1; 32]), vec![3; BODY_BYTES]);
    let signature = key.sign(Purpose::Transaction, &chain, &body);
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        for _ in 0..CHECKS_PER_SAMPLE {
            public.verify(Purpose::Transaction, &chain, &body, &signature)?;
        }
        samples.push(begun.elapsed().as_secs_f64() * 1e6 / CHECKS_PER_SAMPLE as f64);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    // The limit that others are held against; it has none but its own quickest sample.
    let quickest = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let figure = Figure::new("verify_strict", "µs", samples, ("its quickest sample, µs", quickest));
    figure.publish(results)?;
    Ok(SignatureLimit { transactions_per_s: cores * 1e6 / (4.0 * figure.median) })
}
