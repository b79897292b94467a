//! Declared sagas, driven by the group: stories with all that is stored, sent and answered.

mod absence;
mod attempts;
mod back;
mod operator;
mod start;
