//! What house law promises: values in, values out, the first check that says no named with its
//! evidence.

mod health;
mod permit;
