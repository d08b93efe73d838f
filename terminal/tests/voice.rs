//! What every program says, and how: inert, the same to people and to programs.

#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::error::Error;
use std::ffi::OsString;
use terminal::{ErrorView, asks_for_json, escape, json, lines};

#[test]
fn whatever_could_act_on_a_terminal_stands_as_text() {
    for (text, inert) in [
        ("plain text, Ünïcödé, 漢字, עברית", "plain text, Ünïcödé, 漢字, עברית"),
        ("\u{1b}[31mred", "\\u{1b}[31mred"),
        ("\u{9b}31m", "\\u{9b}31m"),
        ("a\nb\tc\rd\0", "a\\nb\\tc\\u{d}d\\u{0}"),
        ("\u{202e}gnp.exe\u{2066}\u{200f}", "\\u{202e}gnp.exe\\u{2066}\\u{200f}"),
        ("in\u{200b}visible\u{feff}\u{ad}", "in\\u{200b}visible\\u{feff}\\u{ad}"),
        ("\u{e0041}\u{2028}\u{7f}", "\\u{e0041}\\u{2028}\\u{7f}"),
    ] {
        assert_eq!(escape(text), inert);
    }
    assert_eq!(lines("one\n\u{7}two\n"), "one\n\\u{7}two");
}

#[test]
fn json_is_inert_and_the_same_value() {
    let text = "a\"\\\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\n漢";
    let written = json(&serde_json::json!({ "text": text }));
    assert!(
        written.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}' && c != '\u{e0041}')),
        "{written}"
    );
    let read: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(read["text"], text);
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(&'static str, #[source] Option<Box<Said>>);

fn chain(words: &[&'static str]) -> Said {
    let (first, others) = words.split_first().unwrap();
    Said(first, (!others.is_empty()).then(|| Box::new(chain(others))))
}

#[test]
fn causes_are_said_once() {
    let view = |words: &[&'static str]| ErrorView::of(&chain(words) as &dyn Error, "code", Some(String::new()));
    let told = view(&["no node answers", "call: refused", "refused", "refused\n"]);
    assert_eq!((told.message.as_str(), &told.because[..]), ("no node answers", &["call: refused".to_owned()][..]));
    assert_eq!(told.hint, None);
    // Another sentence is said, though its words were there.
    assert_eq!(view(&["refused: port 1", "refused"]).because, ["refused"]);
}

#[test]
fn an_error_is_lines_for_people_that_nothing_can_act_through() {
    let view = ErrorView {
        code: "file".to_owned(),
        message: "\u{1b}[2Jgone".to_owned(),
        because: vec!["line 1\n  | x = \u{7}".to_owned()],
        hint: Some("look".to_owned()),
    };
    let text = "error: \\u{1b}[2Jgone\n  because: line 1\n      | x = \\u{7}\nhint: look\n";
    assert_eq!(view.text(), text);
}

#[test]
fn who_asks_for_json_is_known_before_the_line_is_read() {
    let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
    for line in ["x -o json", "x -ojson y", "x -o=json", "x --output json", "x --output=json"] {
        assert!(asks(line), "{line}");
    }
    for line in ["x", "x json", "x -o table", "x -o xml json", "x --outputs json"] {
        assert!(!asks(line), "{line}");
    }
}
