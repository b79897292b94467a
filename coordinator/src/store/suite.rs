//! The rules that every store keeps, as functions over a [`Place`]: a store's tests run them all.
//!
//! A rule opens the place, does something, and looks; opening it again is a restart of the process
//! on what was stored. The rows are made by [`rows`].

mod ids;
mod lease;
mod reading;
pub(super) mod rows;
mod sagas;
mod writing;

use std::sync::Arc;

use super::Store;

pub(super) use ids::*;
pub(super) use lease::*;
pub(super) use reading::*;
pub(super) use sagas::*;
pub(super) use writing::*;

/// Where a store's rows lie.
#[async_trait::async_trait]
pub(super) trait Place: Send {
    /// Opens it as a new process would. Whoever had it open has let it go before.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of each rule.
macro_rules! conformance {
    ($place:expr; $($rule:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $rule() {
                crate::store::suite::$rule(&$place).await;
            }
        )+
    };
    ($place:expr) => {
        mod conformance {
            use super::*;

            crate::store::suite::conformance! {
                $place;
                a_new_store_is_empty,
                a_transaction_reads_back_as_it_was_put,
                every_status_and_cause_reads_back,
                a_branch_reads_back_as_it_was_put,
                every_branch_state_reads_back,
                locks_read_back_in_their_order,
                a_branch_with_ten_thousand_locks_reads_back,
                a_park_report_reads_back,
                what_operators_decided_reads_back,
                an_action_reads_back,
                a_saga_reads_back_with_its_definition_and_steps,
                a_saga_is_pruned_with_its_transaction,
                text_is_kept_byte_for_byte,
                a_put_replaces_the_whole_row,
                of_several_writes_of_one_row_the_last_counts,
                a_batch_of_many_rows_lands_as_a_whole,
                an_empty_batch_lands,
                a_resource_is_put_replaced_and_dropped,
                a_resource_dropped_and_put_in_one_batch_stays,
                a_resource_put_and_dropped_in_one_batch_is_gone,
                pruned_transactions_are_gone_with_their_branches,
                a_put_before_its_prune_in_one_batch_is_gone,
                the_horizon_only_rises,
                load_sorts_what_it_finds,
                load_keeps_the_ended_apart_in_the_order_of_their_end,
                load_leaves_out_the_branches_of_the_ended,
                load_reads_more_than_a_page,
                what_was_written_is_there_after_a_restart,
                the_end_of_a_transaction_fills_in_its_branches,
                the_end_leaves_what_a_scope_undid_as_it_was,
                an_unfinished_transactions_branches_are_shown_as_stored,
                an_unknown_transaction_is_none,
                a_search_pages_from_the_newest_down,
                a_search_finds_the_unfinished,
                a_search_finds_the_parked_and_counts,
                each_lead_raises_the_epoch,
                an_older_epoch_writes_nothing,
                an_older_epoch_reserves_nothing,
                an_epoch_survives_a_restart,
                the_store_keeps_its_identity,
                a_new_stores_horizon_lies_below_its_first_id,
                ids_start_at_the_wall_clock,
                ids_are_never_reserved_twice,
                ids_go_on_when_the_clock_goes_back,
                ids_go_on_after_a_restart,
                ids_that_do_not_fit_are_refused,
            }
        }
    };
}
pub(super) use conformance;
