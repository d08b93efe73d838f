//! Text and lists that carry their own bounds: a value of these types is within them.

use crate::limits;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Why a text or a list is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// More bytes than allowed.
    #[error("{actual} bytes of text, at most {limit} allowed")]
    TextTooLong {
        /// Bytes given.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A control character other than line feed.
    #[error("control character U+{0:04X} in text")]
    ControlCharacter(u32),
    /// A name is empty or has characters outside `a-z 0-9 . _ + - :` or starts with punctuation.
    #[error("{0:?} is not a name: lower-case letters, digits and . _ + - : only, a letter or digit first")]
    NotAName(String),
    /// A product is not `namespace/name`.
    #[error("{0:?} is not a product: namespace/name, both names")]
    NotAProduct(String),
    /// More elements than allowed.
    #[error("{actual} elements, at most {limit} allowed")]
    ListTooLong {
        /// Elements given.
        actual: usize,
        /// Elements allowed.
        limit: usize,
    },
    /// A list without order of its own is not strictly ascending.
    #[error("list is not strictly ascending")]
    NotSorted,
}

/// Reads a text where it lies: copied when all of it is there, and not before (sentence 1.5).
struct Words<T>(fn(&str) -> Result<T, BoundError>);

impl<T> Visitor<'_> for Words<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(de::Error::custom)
    }
}

/// UTF-8 text of at most `MAX` bytes without control characters (line feed is allowed). Titles and
/// notes end in terminals, tables and pages; an escape sequence must not travel there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Checks and takes a text.
    ///
    /// # Errors
    /// [`BoundError`] when it is too long or has control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, BoundError> {
        let text = text.into();
        if text.len() > MAX {
            return Err(BoundError::TextTooLong { actual: text.len(), limit: MAX });
        }
        match text.chars().find(|c| c.is_control() && *c != '\n') {
            Some(c) => Err(BoundError::ControlCharacter(c as u32)),
            None => Ok(Self(text)),
        }
    }

    /// Takes what fits of a text from inside the house (an error message, say): control characters
    /// become spaces and what is too long is cut at a character.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let mut kept = String::new();
        for c in text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }) {
            if kept.len() + c.len_utf8() > MAX {
                break;
            }
            kept.push(c);
        }
        Self(kept)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Words(|text| Self::new(text)))
    }
}

/// Notes of a patch or a verdict.
pub type Notes = Text<{ limits::NOTES_BYTES_MAX }>;
/// One sentence.
pub type Sentence = Text<{ limits::SENTENCE_BYTES_MAX }>;
/// A version string, as the packager writes it.
pub type Version = Text<{ limits::VERSION_BYTES_MAX }>;
/// One argument of a command.
pub type Argument = Text<{ limits::ARGUMENT_BYTES_MAX }>;

/// A name: organisation, namespace, channel, group, label, artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`BoundError`] when it is too long or not made of the characters a name has.
    pub fn new(text: impl Into<String>) -> Result<Self, BoundError> {
        let text = text.into();
        if text.len() > limits::NAME_BYTES_MAX {
            return Err(BoundError::TextTooLong { actual: text.len(), limit: limits::NAME_BYTES_MAX });
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let well_formed = bytes.first().is_some_and(|b| plain(*b))
            && bytes.iter().all(|b| plain(*b) || matches!(b, b'.' | b'_' | b'+' | b'-' | b':'));
        if well_formed { Ok(Self(text)) } else { Err(BoundError::NotAName(text)) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Words(|text| Self::new(text)))
    }
}

/// A product: `namespace/name`. The namespace is owned by one organisation, and nobody else can
/// publish in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Product(String);

impl Product {
    /// Checks and takes a product.
    ///
    /// # Errors
    /// [`BoundError`] when it is not two names with one slash between them.
    pub fn new(text: impl Into<String>) -> Result<Self, BoundError> {
        let text = text.into();
        if text.len() > limits::PRODUCT_BYTES_MAX {
            return Err(BoundError::TextTooLong { actual: text.len(), limit: limits::PRODUCT_BYTES_MAX });
        }
        match text.split_once('/') {
            Some((namespace, name)) if Name::new(namespace).is_ok() && Name::new(name).is_ok() => Ok(Self(text)),
            _ => Err(BoundError::NotAProduct(text)),
        }
    }

    /// The whole product.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the slash.
    #[must_use]
    pub fn namespace(&self) -> Name {
        let (namespace, _) = self.0.split_once('/').expect("checked when made: one slash");
        Name(namespace.to_owned())
    }

    /// The part after the slash.
    #[must_use]
    pub fn name(&self) -> Name {
        let (_, name) = self.0.split_once('/').expect("checked when made: one slash");
        Name(name.to_owned())
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Product {
    type Err = BoundError;
    fn from_str(text: &str) -> Result<Self, BoundError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Product {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Words(|text| Self::new(text)))
    }
}

/// At most `MAX` opaque bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Blob<MAX> {
    /// Checks and takes bytes.
    ///
    /// # Errors
    /// [`BoundError::ListTooLong`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, BoundError> {
        if bytes.len() > MAX {
            return Err(BoundError::ListTooLong { actual: bytes.len(), limit: MAX });
        }
        Ok(Self(bytes))
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> Serialize for Blob<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Blob<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<const MAX: usize>;
        impl<const MAX: usize> Visitor<'_> for Bytes<MAX> {
            type Value = Blob<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob<MAX>, E> {
                Blob::new(bytes.to_vec()).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A list of at most `MAX` elements whose order means something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Checks and takes a list.
    ///
    /// # Errors
    /// [`BoundError::ListTooLong`].
    pub fn new(elements: Vec<T>) -> Result<Self, BoundError> {
        if elements.len() > MAX {
            return Err(BoundError::ListTooLong { actual: elements.len(), limit: MAX });
        }
        Ok(Self(elements))
    }

    /// The elements.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize, const MAX: usize> Serialize for List<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements::<T, MAX>(PhantomData)).map(Self)
    }
}

/// Stops at `MAX + 1` elements instead of reading all of a list that claims millions.
struct Elements<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::with_capacity(sequence.size_hint().unwrap_or(0).min(MAX).min(256));
        while let Some(element) = sequence.next_element()? {
            if elements.len() == MAX {
                return Err(de::Error::custom(BoundError::ListTooLong { actual: MAX + 1, limit: MAX }));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

/// A set of at most `MAX` elements, kept strictly ascending so that it has one encoding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortedList<T, const MAX: usize>(List<T, MAX>);

impl<T, const MAX: usize> Default for SortedList<T, MAX> {
    fn default() -> Self {
        Self(List::default())
    }
}

impl<T: Ord, const MAX: usize> SortedList<T, MAX> {
    /// Sorts, removes duplicates, checks the bound.
    ///
    /// # Errors
    /// [`BoundError::ListTooLong`].
    pub fn new(mut elements: Vec<T>) -> Result<Self, BoundError> {
        elements.sort();
        elements.dedup();
        List::new(elements).map(Self)
    }

    /// The elements, ascending.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0.into_vec()
    }
}

impl<T, const MAX: usize> Deref for SortedList<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize, const MAX: usize> Serialize for SortedList<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + Ord, const MAX: usize> Deserialize<'de> for SortedList<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = List::<T, MAX>::deserialize(deserializer)?;
        if list.is_sorted_by(|a, b| a < b) { Ok(Self(list)) } else { Err(de::Error::custom(BoundError::NotSorted)) }
    }
}
