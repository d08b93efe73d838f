//! A store without its oldest blocks: it cannot be executed again from the genesis, so it is taken down as a
//! snapshot of itself, examined as one of a stranger, and the two stores are compared.

use super::{Progress, Report, compare};
use crate::column::Column;
use crate::database::Database;
use crate::error::StoreError;
use crate::restore::{RestoreError, restore_into};
use crate::snapshot::Whole;
use crate::view::View;
use ledger::genesis::GenesisBlock;
use ledger::snapshot::SnapshotPart;
use ledger::state::tree;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Parts between the thread that reads and the one that examines.
const PARTS_AHEAD: usize = 4;

/// Takes the chain down into `scratch` and compares.
pub(super) fn check(
    chain: &View<'_>,
    database: &Database,
    scratch: &Database,
    genesis: &GenesisBlock,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    match again(chain, scratch, genesis, report, progress) {
        Ok(()) => {}
        Err(RestoreError::Store(error)) => return report.add_error(error),
        Err(other) => {
            let problem = StoreError::row(Column::Headers, &[], None, other.to_string());
            return report.add_error(problem);
        }
    }
    report.proven = report.height;
    for column in Column::ALL {
        // Its own tree has other versions of the same nodes.
        let rows = match column {
            Column::Nodes => examine_the_tree(chain, report)?,
            Column::Meta => 0,
            column => compare::one(column, database, scratch, report)?,
        };
        report.rows += rows;
        progress(Progress::Compared { column: column.name(), rows });
    }
    same_number_of_nodes(database, scratch, report)
}

fn again(
    chain: &View<'_>,
    scratch: &Database,
    genesis: &GenesisBlock,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), RestoreError> {
    report.height = chain.tip()?.header.height;
    let of = report.height;
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Result<SnapshotPart, RestoreError>>(PARTS_AHEAD);
        scope.spawn(move || {
            // Whoever examines may have seen enough.
            let said = chain.snapshot(Whole::All, |part| {
                sender.send(Ok(part)).map_err(|_| StoreError::Database { detail: "nobody listens".to_owned() })
            });
            if let Err(error) = said {
                let _ = sender.send(Err(RestoreError::Store(error)));
            }
        });
        let parts = receiver.into_iter().inspect(|part| {
            if let Ok(SnapshotPart::Whole { block, .. }) = part {
                report.transactions += u64::from(block.header.tx_count);
                progress(Progress::Replayed { height: block.header.height, of });
            }
        });
        restore_into(scratch, genesis, parts).map(|_| ())
    })
}

/// Examines the tree: every node by its parent's word, every leaf by its record.
fn examine_the_tree(chain: &View<'_>, report: &mut Report) -> Result<u64, StoreError> {
    match tree::examine(chain, chain.tip()?.tree) {
        Ok(nodes) => Ok(nodes),
        Err(error) => {
            let problem = StoreError::row(Column::Nodes, &[], None, error.to_string());
            report.add_error(problem).map(|()| 0)
        }
    }
}

/// What is left over is not part of any tree.
fn same_number_of_nodes(database: &Database, scratch: &Database, report: &mut Report) -> Result<(), StoreError> {
    let count =
        |database: &Database| database.scan_all(Column::Nodes).try_fold(0u64, |count, row| row.map(|_| count + 1));
    let (actual, expected) = (count(database)?, count(scratch)?);
    if actual == expected {
        return Ok(());
    }
    let detail = format!("{actual} nodes, the records make {expected}");
    report.add_error(StoreError::row(Column::Nodes, &[], None, detail))
}
