//! The node at its doors: what peers, clients, disks and people may do to it, and what it then does.
//!
//! Nodes run as the processes people run; the parts that keep things (journal, artifacts) are asked
//! directly where only they can tell. Everything is in a directory of its own and on loopback.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a helper of a test may panic and speak as the test may")]

mod accountability;
mod artifact_store;
mod artifacts;
mod assembly;
mod clients;
mod configuration;
mod crowds;
mod disks;
mod documentation;
mod enrolment;
mod guard;
mod hostile_member;
mod inventories;
mod journal;
mod pages;
mod peers;
mod refusals;
mod replication;
mod snapshots;
mod stopping;
mod support;
mod transfers;
mod unfinished;
mod unread;
