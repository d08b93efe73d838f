//! What reaches people: answers as text or JSON, with everything a stranger wrote made inert.

use crate::EXIT_DONE;
use crate::failure::Failure;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON object.
    Json,
}

/// Whether a command line that could not be read asks for JSON.
#[must_use]
pub fn asks_for_json(words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}

/// What a command has to say: text for people, one JSON object for programs, and an exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    text: String,
    json: String,
    code: u8,
}

impl Answer {
    /// A positive answer.
    #[must_use]
    pub fn new(text: String, view: &impl Serialize) -> Self {
        Self { text, json: json(view), code: EXIT_DONE }
    }

    /// With another exit code than 0.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Nothing to say: another program said it.
    #[must_use]
    pub fn silent(code: u8) -> Self {
        Self { text: String::new(), json: String::new(), code }
    }

    /// Writes to standard output and gives the exit code.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn print(&self, format: Format) -> Result<u8, Failure> {
        let text = match format {
            Format::Table => &self.text,
            Format::Json => &self.json,
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // The reader has seen enough (`| head`): not our failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
            _ => Ok(self.code),
        }
    }
}

/// Tells the person at the terminal something that is not data.
pub(crate) fn note(text: &str) {
    let mut told = io::stderr().lock();
    for line in text.lines() {
        // A closed standard error is no reason to stop.
        let _ = writeln!(told, "{}", escape(line));
    }
}

/// Whether a character could do something to a terminal, or to the order in which a line is read:
/// control characters, line and paragraph separators, invisible and directional formatting.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line of text, inert: whatever could act on a terminal stands as `\u{…}`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            c if is_active(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", c as u32);
            }
            c => safe.push(c),
        }
    }
    safe
}

/// A JSON document, inert: the same value for a parser, nothing for a terminal to act on.
#[must_use]
pub fn json(view: &impl Serialize) -> String {
    let plain = serde_json::to_string_pretty(view).expect("views have string keys and no fallible parts");
    let mut safe = String::with_capacity(plain.len() + 1);
    for c in plain.chars() {
        // Line feeds are the document's own: inside strings the serialiser has escaped them.
        if c != '\n' && is_active(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    safe
}

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
