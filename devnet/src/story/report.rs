//! What the story found: live lines, a table at the end, `report.json`.

use super::Say;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use proto::v1::{GetStatusResponse, Receipt};
use serde::Serialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// `report.json`.
#[derive(Serialize)]
pub(super) struct Report {
    version: u32,
    old_version: String,
    new_version: String,
    as_promised: bool,
    total_ms: u64,
    steps: Vec<Step>,
    nodes: Vec<NodeLine>,
    receipts: Vec<ReceiptLine>,
    #[serde(skip)]
    begun: Option<Instant>,
}

#[derive(Serialize)]
struct Step {
    title: String,
    expected: String,
    found: String,
    as_promised: bool,
    ms: u64,
}

#[derive(Serialize)]
struct NodeLine {
    name: String,
    validator: bool,
    height: u64,
    transactions: u64,
    finality_p50_ms: f64,
    finality_p99_ms: f64,
}

#[derive(Serialize)]
struct ReceiptLine {
    endpoint: String,
    outcome: String,
    reason: String,
    from_version: String,
    to_version: String,
    height: u64,
}

fn since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Report {
    pub(super) fn begin(old: &str, new: &str) -> Self {
        Self {
            version: 1,
            old_version: old.to_owned(),
            new_version: new.to_owned(),
            as_promised: false,
            total_ms: 0,
            steps: Vec::new(),
            nodes: Vec::new(),
            receipts: Vec::new(),
            begun: Some(Instant::now()),
        }
    }

    /// Plays one step, notes what came of it and gives what it brought.
    pub(super) async fn step<T>(
        &mut self,
        say: Say<'_>,
        title: &str,
        expected: &str,
        act: impl Future<Output = Result<(String, T), Box<dyn Error>>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let result = act.await;
        let ms = since(begun);
        let (found, brought) = match result {
            Ok((found, brought)) => (found, Some(brought)),
            Err(error) => (in_one_line(&*error), None),
        };
        let mark = if brought.is_some() { "✓" } else { "✗" };
        say(&format!("{mark} {title}: {found} ({ms} ms)"));
        self.steps.push(Step {
            title: title.to_owned(),
            expected: expected.to_owned(),
            found,
            as_promised: brought.is_some(),
            ms,
        });
        self.total_ms = self.begun.map_or(0, since);
        self.as_promised = self.all_as_promised();
        brought
    }

    pub(super) fn node(&mut self, name: &str, status: &GetStatusResponse) {
        self.nodes.push(NodeLine {
            name: name.to_owned(),
            validator: status.validator,
            height: status.height,
            transactions: status.transactions,
            finality_p50_ms: status.finality_p50_ms,
            finality_p99_ms: status.finality_p99_ms,
        });
    }

    pub(super) fn receipts(&mut self, receipts: &[Receipt]) {
        self.receipts = receipts
            .iter()
            .rev()
            .map(|receipt| ReceiptLine {
                endpoint: receipt.endpoint_name.clone(),
                outcome: receipt.outcome.clone(),
                reason: receipt.reason.clone(),
                from_version: receipt.from_version.clone(),
                to_version: receipt.to_version.clone(),
                height: receipt.position.as_ref().map_or(0, |position| position.height),
            })
            .collect();
    }

    pub(super) fn all_as_promised(&self) -> bool {
        self.steps.iter().all(|step| step.as_promised)
    }

    pub(super) fn save(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self).map_err(std::io::Error::other)? + "\n")
    }

    /// The tables a person enjoys reading.
    pub(super) fn table(&self) -> String {
        let mut steps = table(&["", "step", "expected", "found", "ms"]);
        for step in &self.steps {
            let mark = if step.as_promised { "✓" } else { "✗" };
            steps.add_row([mark, &step.title, &step.expected, &step.found, &step.ms.to_string()]);
        }
        let mut text = format!("\n{steps}\n");
        if !self.nodes.is_empty() {
            let mut nodes = table(&["node", "", "height", "transactions", "finality p50", "p99"]);
            for node in &self.nodes {
                nodes.add_row([
                    node.name.clone(),
                    if node.validator { "validator" } else { "observer" }.to_owned(),
                    node.height.to_string(),
                    node.transactions.to_string(),
                    latency(node.finality_p50_ms),
                    latency(node.finality_p99_ms),
                ]);
            }
            text += &format!("\n{nodes}\n");
        }
        if !self.receipts.is_empty() {
            let mut receipts = table(&["host", "outcome", "reason", "from", "to", "height"]);
            for receipt in &self.receipts {
                let height = receipt.height.to_string();
                receipts.add_row([
                    &receipt.endpoint,
                    &receipt.outcome,
                    &receipt.reason,
                    &receipt.from_version,
                    &receipt.to_version,
                    &height,
                ]);
            }
            text += &format!("\n{receipts}\n");
        }
        let kept: BTreeMap<bool, usize> = self.steps.iter().fold(BTreeMap::new(), |mut kept, step| {
            *kept.entry(step.as_promised).or_default() += 1;
            kept
        });
        text += &format!(
            "\n{} of {} steps as promised, {:.1} s\n",
            kept.get(&true).unwrap_or(&0),
            self.steps.len(),
            self.total_ms as f64 / 1000.0
        );
        text
    }
}

/// An error with its causes.
fn in_one_line(error: &dyn Error) -> String {
    let (mut told, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

/// Columns a table has at most.
const COLUMNS_MAX: u16 = 100;

/// How long finality takes, when somebody waited for it.
#[must_use]
pub fn latency(ms: f64) -> String {
    if ms > 0.0 { format!("{ms:.1} ms") } else { "–".to_owned() }
}

/// A table that fits into a terminal, and into a log.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    // A terminal may be narrower, a log has no width: what is longer is broken into lines.
    let width = table.width().map_or(COLUMNS_MAX, |terminal| terminal.min(COLUMNS_MAX));
    table.set_width(width);
    table
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[tokio::test]
    async fn the_tables_fit_into_a_hundred_columns() {
        let mut report = Report::begin("5:7.0.15-1~deb12u1", "5:7.0.15-1~deb12u7");
        let long = "refused by check approval-rule: approval missing under rule default: 1 of 2 approvals ".repeat(3);
        let step = async { Ok((long.clone(), ())) };
        report.step(&mut |_| {}, "an agent refuses a patch while an approval is missing", &long, step).await;
        for line in report.table().lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
    }
}
