//! Keep the chain on disk.
