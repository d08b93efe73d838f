//! What is asked of a cache: a path and a range, and nothing else is understood.

use ledger::artifact::{TREE_SUFFIX, shelf_path};
use ledger::id::Digest;

/// The artifact a path names, and whether its tree is meant.
#[must_use]
pub fn named(path: &str) -> Option<(Digest, bool)> {
    let within = path.strip_prefix('/')?;
    let (plain, is_tree) = match within.strip_suffix(TREE_SUFFIX) {
        Some(plain) => (plain, true),
        None => (within, false),
    };
    let blake3: Digest = plain.rsplit('/').next()?.parse().ok()?;
    // One path for one thing: whatever else leads to the same digest is none.
    (plain == shelf_path(&blake3)).then_some((blake3, is_tree))
}

/// What part of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// From here to there, the end not included.
    From(u64, u64),
    /// A part it has not got.
    Outside,
}

/// What a range of a file of this length means (RFC 9110 §14); one that is not understood may be left out of account.
#[must_use]
pub fn part(range: Option<&str>, length: u64) -> Part {
    let Some((from, to)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return Part::Whole;
    };
    let (Ok(from), to) = (from.parse::<u64>(), to.parse::<u64>()) else { return Part::Whole };
    match to {
        _ if from >= length => Part::Outside,
        Ok(to) if to < from => Part::Whole,
        Ok(to) => Part::From(from, to.saturating_add(1).min(length)),
        Err(_) if range.is_some_and(|range| range.ends_with('-')) => Part::From(from, length),
        Err(_) => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_names_one_thing_and_no_other_names_anything() {
        let blake3 = Digest::blake3(b"a");
        let path = format!("/{}", shelf_path(&blake3));
        assert_eq!(named(&path), Some((blake3, false)));
        assert_eq!(named(&format!("{path}.tree")), Some((blake3, true)));
        for wrong in [
            format!("/{path}"),
            path[1..].to_owned(),
            format!("{path}.tree.tree"),
            format!("{path}/"),
            format!("/../cache{path}"),
            path.to_uppercase(),
            format!("/00/{blake3}"),
            "/".to_owned(),
            String::new(),
        ] {
            assert_eq!(named(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ranges_are_understood_or_left_out_of_account() {
        let cases = [
            (None, Part::Whole),
            (Some("bytes=0-"), Part::From(0, 100)),
            (Some("bytes=16-31"), Part::From(16, 32)),
            (Some("bytes=16-18446744073709551615"), Part::From(16, 100)),
            (Some("bytes=99-"), Part::From(99, 100)),
            (Some("bytes=100-"), Part::Outside),
            (Some("bytes=5-4"), Part::Whole),
            (Some("bytes=-5"), Part::Whole),
            (Some("bytes=0-1,5-6"), Part::Whole),
            (Some("lines=0-"), Part::Whole),
        ];
        for (range, expected) in cases {
            assert_eq!(part(range, 100), expected, "{range:?}");
        }
    }
}
