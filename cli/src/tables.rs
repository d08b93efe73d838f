//! Tables and facts for people, with everything a stranger wrote made inert.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use terminal::escape;

/// A table with a heading per column; cells are escaped.
#[must_use]
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings.iter().map(|heading| (*heading).to_owned()));
    for row in rows {
        table.add_row(row.iter().map(|cell| escape(cell)));
    }
    lines(&mut table)
}

/// Facts, one per line: a name and a value; values are escaped line by line.
#[must_use]
pub fn facts(facts: &[(&str, String)]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (name, value) in facts {
        let mut name = (*name).to_owned();
        for line in value.split('\n') {
            table.add_row([name, escape(line)]);
            name = String::new();
        }
    }
    lines(&mut table)
}

fn lines(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_cell_alignment(CellAlignment::Left);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// As much of an id as a table shows: enough to be typed as a prefix.
#[must_use]
pub fn short(id: &impl ToString) -> String {
    id.to_string().chars().take(12).collect()
}
