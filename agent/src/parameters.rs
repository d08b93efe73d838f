//! `{name}` in commands: what a host fills in.

use std::collections::BTreeMap;

/// The name that stands for the installed tree; parameters cannot take it.
pub const TREE: &str = "tree";

/// A `{name}` that nobody gave a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{{{0}}} is no parameter of this host")]
pub struct UnknownParameter(pub String);

/// Values for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// From names and values; see [`is_name`].
    #[must_use]
    pub fn new(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// The same, with `{tree}` standing for a path.
    #[must_use]
    pub fn with_tree(&self, tree: &str) -> Self {
        let mut values = self.0.clone();
        values.insert(TREE.to_owned(), tree.to_owned());
        Self(values)
    }

    /// Replaces every `{name}`. Braces around anything that is not a name stay as they are, so that
    /// JSON in an argument survives; a value is not looked at again.
    ///
    /// # Errors
    /// [`UnknownParameter`] names the first name without a value.
    pub fn expand(&self, text: &str) -> Result<String, UnknownParameter> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            expanded.push_str(&rest[..open]);
            rest = &rest[open..];
            match rest[1..].find('}').map(|close| &rest[1..=close]).filter(|name| is_name(name)) {
                Some(name) => {
                    let value = self.0.get(name).ok_or_else(|| UnknownParameter(name.to_owned()))?;
                    expanded.push_str(value);
                    rest = &rest[name.len() + 2..];
                }
                None => {
                    expanded.push('{');
                    rest = &rest[1..];
                }
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// Whether this can stand between braces: a letter, then letters, digits, `_` and `-`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_everything_else_stays() {
        let parameters = Parameters::new([("port".to_owned(), "{tree}".to_owned())].into()).with_tree("/t");
        for (text, expected) in [
            ("{tree}/bin", Ok("/t/bin")),
            ("{port}", Ok("{tree}")),
            ("{\"a\": {}}", Ok("{\"a\": {}}")),
            ("{", Ok("{")),
            ("}{", Ok("}{")),
            ("{Tree}", Ok("{Tree}")),
            ("{{tree}}", Ok("{/t}")),
            ("{missing}", Err("missing")),
        ] {
            let expanded = parameters.expand(text);
            assert_eq!(expanded.as_deref().map_err(|unknown| unknown.0.as_str()), expected, "{text}");
        }
    }
}
