//! Decide what may happen, when, and whether it went well.
