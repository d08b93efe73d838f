//! An input as a row of decisions: what an attacker does next, and to what.

use arbitrary::Unstructured;

/// Decisions taken from the bytes of an input. When they are used up, everything is the first choice.
pub struct Choices<'a>(Unstructured<'a>);

impl<'a> Choices<'a> {
    /// From an input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Whether there is anything left to decide by.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// A bit.
    pub fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`; one byte, so that the fuzzer's mutations mean something.
    pub fn below(&mut self, end: usize) -> usize {
        let byte = usize::from(self.byte());
        if end > 256 { (byte | usize::from(self.byte()) << 8) % end } else { byte % end.max(1) }
    }

    /// A number that is small, near the largest, near another, or anything.
    pub fn number(&mut self, near: u64) -> u64 {
        let by = u64::from(self.byte());
        match self.below(5) {
            0 => by,
            1 => near.wrapping_add(by),
            2 => near.wrapping_sub(by),
            3 => u64::MAX - by,
            _ => self.0.arbitrary().unwrap_or(0),
        }
    }

    /// One of these, if there is one.
    pub fn of<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        from.get(self.below(from.len()))
    }
}

/// One thing done to a list by somebody who has more elements like it.
pub fn alter_list<T: Clone>(choices: &mut Choices<'_>, list: &mut Vec<T>, others: &[T]) {
    let (a, b) = (choices.below(list.len()), choices.below(list.len()));
    match choices.below(6) {
        0 if !list.is_empty() => drop(list.remove(a)),
        1 if !list.is_empty() => list.insert(b, list[a].clone()),
        2 if !list.is_empty() => list.swap(a, b),
        3 => list.truncate(a),
        4 => {
            if let Some(other) = choices.of(others) {
                list.insert(a.min(list.len()), other.clone());
            }
        }
        _ => {
            if let (Some(other), Some(place)) = (choices.of(others), list.get_mut(a)) {
                *place = other.clone();
            }
        }
    }
}
