//! In which order the packages of a closure are installed.
//!
//! All in one go, as a rule: dpkg unpacks every one before it configures any. A package that must have others
//! ready before it is even unpacked (`Pre-Depends`) comes in a later go than those, and than all that those need.

use std::collections::BTreeSet;

/// What a package asks for, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::installer) struct Relations {
    /// Its own name, and names it stands in for.
    pub(in crate::installer) provides: Vec<String>,
    /// What must be ready before it is unpacked.
    pub(in crate::installer) before: Vec<String>,
    /// What must be there for it to work.
    pub(in crate::installer) depends: Vec<String>,
}

/// Names in a field like `libc6 (>= 2.36), awk | mawk:any`: every alternative, for more order than needed does no harm.
pub(in crate::installer) fn names(field: &str) -> Vec<String> {
    let name = |one: &str| one.trim().split([' ', '(', '[', ':', '<']).next().unwrap_or_default().to_owned();
    field.split([',', '|']).map(name).filter(|name| !name.is_empty()).collect()
}

/// In which go each package is installed, beginning with 0.
pub(in crate::installer) fn goes(packages: &[&Relations]) -> Vec<usize> {
    let mut goes = vec![0; packages.len()];
    place((0..packages.len()).collect(), packages, &mut goes);
    goes
}

/// Places packages; how many goes they take.
fn place(all: BTreeSet<usize>, packages: &[&Relations], goes: &mut [usize]) -> usize {
    let found = |names: &[String]| -> BTreeSet<usize> {
        let provides = |place: &&usize| packages[**place].provides.iter().any(|name| names.contains(name));
        all.iter().filter(provides).copied().collect()
    };
    let mut waiting: Vec<usize> = Vec::new();
    for place in &all {
        waiting.extend(found(&packages[*place].before).iter().filter(|before| *before != place));
    }
    let mut early = BTreeSet::new();
    while let Some(place) = waiting.pop() {
        if early.insert(place) {
            waiting.extend(found(&packages[place].before));
            waiting.extend(found(&packages[place].depends));
        }
    }
    // Nothing comes early when nothing has to, and when they all wait for each other.
    if early.is_empty() || early.len() == all.len() {
        return 1;
    }
    let late: Vec<usize> = all.difference(&early).copied().collect();
    let first = place(early, packages, goes);
    late.into_iter().for_each(|place| goes[place] = first);
    first + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relations(name: &str, before: &str, depends: &str) -> Relations {
        Relations { provides: vec![name.to_owned()], before: names(before), depends: names(depends) }
    }

    #[test]
    fn what_must_be_ready_before_comes_before() {
        for (what, packages, expected) in [
            ("nothing asked", vec![("a", "", ""), ("b", "", "a")], vec![0, 0]),
            ("one before the other", vec![("a", "b (= 1)", ""), ("b", "", "")], vec![1, 0]),
            ("what that needs, too", vec![("a", "b", ""), ("b", "", "c"), ("c", "", "")], vec![1, 0, 0]),
            ("in a row", vec![("a", "b", ""), ("b", "c", ""), ("c", "", "")], vec![2, 1, 0]),
            ("somebody else's", vec![("a", "libc6", ""), ("b", "", "")], vec![0, 0]),
            ("alternatives", vec![("a", "x | b:any", ""), ("b", "", "")], vec![1, 0]),
            ("each other", vec![("a", "b", ""), ("b", "a", "")], vec![0, 0]),
            ("itself", vec![("a", "a", ""), ("b", "", "")], vec![0, 0]),
        ] {
            let packages: Vec<_> = packages.into_iter().map(|(name, pre, of)| relations(name, pre, of)).collect();
            assert_eq!(goes(&packages.iter().collect::<Vec<_>>()), expected, "{what}");
        }
    }
}
