//! What a declared saga may be at most, each with its reason.

/// A definition as JSON. 1 MiB: every step of the largest definition with half a kilobyte of mapping.
pub const DEFINITION_BYTES_MAX: usize = 1024 * 1024;
/// Steps as they are written, loops' bodies included and sub-sagas not. 2,000: more is a program.
pub const STEPS_MAX: usize = 2_000;
/// Step instances once every loop is unrolled to its limit. 100,000: each may become a row.
pub const SLOTS_MAX: u32 = 100_000;
/// How deep loops and sub-sagas lie in each other.
pub const NESTING_MAX: usize = 8;
/// The limit that a loop may state.
pub const LOOP_LIMIT_MAX: u32 = 10_000;
/// The cases of a choice.
pub const CASES_MAX: usize = 100;
/// A condition. 1 KiB: its parser needs stack in proportion to its nesting.
pub const CONDITION_BYTES_MAX: usize = 1024;
/// How deep brackets lie in each other in a condition. 6: unoptimised, the parser takes some 170 KiB of
/// stack for each, and a thread has 2 MiB.
pub const CONDITION_NESTING_MAX: usize = 6;
/// How deep a mapping's JSON is nested.
pub const MAPPING_NESTING_MAX: usize = 32;
/// The input of a saga as JSON.
pub const INPUT_BYTES_MAX: usize = 256 * 1024;
/// What a step is given, and what it returns, as JSON: what a barrier row keeps, too.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// A name of a saga, a step, an action, an error.
pub const NAME_BYTES_MAX: usize = 64;
/// What an error says, in bytes: the rest is cut.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Attempts that a step may state.
pub const ATTEMPTS_MAX: u32 = 1_000_000;
/// How long one attempt may take, in seconds: as long as a global transaction may stay undecided.
pub const ATTEMPT_SECONDS_MAX: u64 = 60 * 60;
/// How long a saga or a wait may take, in seconds: ten years.
pub const SAGA_SECONDS_MAX: u64 = 10 * 366 * 24 * 60 * 60;
