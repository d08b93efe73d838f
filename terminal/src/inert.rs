//! Text made inert: nothing that a stranger wrote may act on a terminal.

use serde::Serialize;
use std::fmt::Write as _;

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

/// Lines of text, each inert.
#[must_use]
pub fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(escape).collect();
    lines.join("\n")
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
