//! Figures: printed for people, one JSON line each for programs.

use serde::Serialize;
use std::fs::{OpenOptions, create_dir_all};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// One figure with what it is held against, from the same run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// Samples.
    pub(crate) n: usize,
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    /// What it is held against.
    pub(crate) against: String,
    /// Median over what it is held against.
    pub(crate) ratio: f64,
    pub(crate) machine: String,
    pub(crate) commit: String,
}

impl Figure {
    /// From samples, held against a number of the same unit.
    pub(crate) fn new(name: &'static str, unit: &'static str, mut samples: Vec<f64>, against: (&str, f64)) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |share| percentile(&samples, share);
        let median = at(50);
        Self {
            name,
            unit,
            n: samples.len(),
            min: at(0),
            median,
            p99: at(99),
            against: format!("{}: {:.4}", against.0, against.1),
            ratio: median / against.1,
            machine: machine(),
            commit: commit(),
        }
    }

    /// Prints it and appends it to the results.
    pub(crate) fn publish(&self, results: &Path) -> std::io::Result<()> {
        crate::print(&format!(
            "{:<22} {:>12.3} {:<8} (n {}, min {:.3}, p99 {:.3})  {:.2} × {}{}",
            self.name,
            self.median,
            self.unit,
            self.n,
            self.min,
            self.p99,
            self.ratio,
            self.against,
            self.verdict()
        ));
        if let Some(directory) = results.parent() {
            create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(results)?;
        writeln!(file, "{}", serde_json::to_string(self).map_err(std::io::Error::other)?)
    }
}

impl Figure {
    /// Of what is held against a target, whether it is met: all those are for figures that should be small.
    fn verdict(&self) -> &'static str {
        match (self.against.starts_with("target"), self.ratio <= 1.0) {
            (false, _) => "",
            (true, true) => " (met)",
            (true, false) => " (MISSED)",
        }
    }
}

/// The one below which so many of a hundred sorted samples are.
fn percentile(sorted: &[f64], share: usize) -> f64 {
    let place = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// The one below which 99 of a hundred samples are.
pub(crate) fn p99(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 99)
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} × {}", cores, model.unwrap_or("unknown"))
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
