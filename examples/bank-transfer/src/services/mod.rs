//! The two kinds of services, each a process of its own.
//!
//! - [`bank`]: three of them, each with its own database; they know nothing of each other.
//! - [`transfer`]: has the banks do an order: in a global transaction of its own, or in a declared saga.
//! - [`order`]: what they say to each other.
//! - [`tell`]: how they tell the story what they are doing, when it listens.

pub(crate) mod bank;
pub(crate) mod order;
pub(crate) mod serve;
pub(crate) mod tell;
pub(crate) mod transfer;
