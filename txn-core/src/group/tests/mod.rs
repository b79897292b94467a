//! The protocol by script, one file for each part of it, and the walk over all that can happen.

#![allow(clippy::too_many_lines, reason = "a snapshot is as long as what happens")]

mod attachment;
mod begin;
mod claims;
mod deadlock;
mod decision;
mod delegation;
mod history;
mod ids;
mod lookup;
mod named;
mod overtaking;
mod phase_one;
mod phase_two;
mod recovery;
mod registration;
mod resolve;
mod saga;
mod scope;
mod script;
mod store;
mod wait_end;
mod waiting;
mod walk;
