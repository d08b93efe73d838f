//! What house law promises: values in, values out, the first check that says no named with its
//! evidence.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may panic as the test may")]

mod health;
mod permit;
mod schedule;
mod windows;
