//! Contexts alone: what a scope keeps and forgets, being in none, and who ends an open branch.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::*;

fn context() -> TransactionContext {
    TransactionContext::managed("g:7".parse().unwrap(), StoreId(1), Duration::from_secs(30))
}

fn current() -> Option<String> {
    TransactionContext::current().map(|context| context.xid().to_string())
}

#[tokio::test]
async fn what_a_kept_scope_recorded_is_the_outer_ones_and_what_an_undone_one_did_is_nobodys() {
    let whole = context();
    let kept = whole.nested(ScopeId(1)).unwrap();
    let inner = kept.nested(ScopeId(2)).unwrap();
    let undone = kept.nested(ScopeId(3)).unwrap();
    assert_eq!(**inner.scopes(), [ScopeId(1), ScopeId(2)]);
    whole.record_done(BranchId(1));
    kept.record_done(BranchId(2));
    inner.record_done(BranchId(3));
    undone.record_done(BranchId(4));
    assert_eq!(whole.done_branches(), [BranchId(1)], "a scope that is open may still be undone");
    inner.keep_scope().unwrap();
    undone.record_done(BranchId(5));
    kept.keep_scope().unwrap();
    assert_eq!(whole.done_branches(), [1, 2, 3].map(BranchId));

    // Answers and tasks that come after the end.
    inner.record_done(BranchId(6));
    undone.record_done(BranchId(7));
    undone.mark_veto("too late");
    assert_eq!(whole.done_branches(), [1, 2, 3, 6].map(BranchId));
    assert_eq!(whole.veto(), None);
    inner.mark_veto("in time for the whole");
    assert_eq!(whole.veto().unwrap(), "in time for the whole");
}

#[tokio::test]
async fn a_veto_is_its_scopes_and_scopes_have_a_deepest() {
    let whole = context();
    let scope = whole.nested(ScopeId(1)).unwrap();
    scope.record_done(BranchId(1));
    scope.mark_veto("short");
    assert_eq!(scope.keep_scope().unwrap_err(), "short");
    assert_eq!((whole.veto(), whole.done_branches()), (None, Vec::new()));

    let mut deepest = whole;
    for scope in 1..=16 {
        deepest = deepest.nested(ScopeId(scope)).unwrap();
    }
    assert!(deepest.nested(ScopeId(17)).is_none());
}

/// Goal: suspending ends with its future, in whatever way that ends.
#[tokio::test]
async fn suspended_code_is_in_no_transaction_and_what_follows_is_in_it_again() {
    let inside = context().scope(async {
        let outside = TransactionContext::suspended(async |outer| {
            assert_eq!(current(), None);
            assert_eq!(waiting_xid().unwrap().to_string(), "g:7", "it waits for us");
            assert_eq!(outer.context().unwrap().xid().to_string(), "g:7");
            let within = outer.resume(async { current() }).await;
            assert_eq!(within.unwrap(), "g:7");
            let deeper = async |outer: Suspended| outer.resume(async { current() }).await;
            assert_eq!(TransactionContext::suspended(deeper).await.unwrap(), "g:7");
            assert_eq!(current(), None);
        });
        outside.await;
        assert_eq!(current().unwrap(), "g:7");

        let panicking = TransactionContext::suspended(async |_| panic!("planted"));
        assert!(AssertUnwindSafe(panicking).catch_unwind().await.is_err());
        assert_eq!(current().unwrap(), "g:7");

        let pending = TransactionContext::suspended(|_| std::future::pending::<()>());
        assert_eq!(pending.now_or_never(), None, "polled once, and dropped");
        assert_eq!(current().unwrap(), "g:7");
    });
    inside.await;
    let none = TransactionContext::suspended(async |outer| {
        assert!(outer.context().is_none());
        outer.resume(async { current() }).await
    });
    assert_eq!((none.await, waiting_xid()), (None, None));
}

#[tokio::test]
async fn an_end_waits_for_the_scopes_that_are_being_undone() {
    let whole = context();
    let scope = whole.nested(ScopeId(1)).unwrap();
    let (first, second) = (scope.undoing(), scope.undoing());
    let mut waiting = std::pin::pin!(whole.undone());
    assert_eq!(waiting.as_mut().now_or_never(), None);
    first.settle();
    assert_eq!(waiting.as_mut().now_or_never(), None);
    assert_eq!(whole.veto(), None);
    drop(second);
    waiting.await;
    assert!(whole.veto().unwrap().contains("given up"), "and one that is given up is a veto");
}

struct Open;

#[async_trait::async_trait]
impl OnePhase for Open {
    async fn prepare(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }

    async fn commit_one_phase(self: Box<Self>) -> OnePhaseEnd {
        OnePhaseEnd::Committed
    }

    async fn roll_back(self: Box<Self>) {}
}

#[tokio::test]
async fn only_the_manager_beside_it_may_be_left_an_open_branch_and_only_until_it_ends() {
    let whole = context();
    assert!(whole.may_delegate());
    assert!(!whole.nested(ScopeId(1)).unwrap().may_delegate(), "a scope can be undone by itself");
    let (xid, store) = (whole.xid().clone(), whole.store_id());
    let received = TransactionContext::new(xid, store, whole.remaining());
    assert!(!received.may_delegate(), "the manager is elsewhere");
    let busy = context();
    busy.record_done(BranchId(1));
    assert!(!busy.may_delegate(), "it is not alone");

    assert!(whole.record_delegatable(BranchId(1), Box::new(Open)).is_ok());
    assert!(!whole.may_delegate(), "it would not be alone");
    let Closing::WithOpenBranches(open) = whole.close() else { panic!("one is open") };
    assert_eq!(open.len(), 1);
    assert!(whole.record_delegatable(BranchId(2), Box::new(Open)).is_err());
    assert!(matches!(whole.close(), Closing::Left));
    let vetoed = context();
    assert!(vetoed.record_delegatable(BranchId(1), Box::new(Open)).is_ok());
    vetoed.mark_veto("short");
    assert!(matches!(vetoed.close(), Closing::Vetoed(_)));
    assert_eq!(vetoed.take_delegatable().len(), 1, "to be rolled back");
}

/// Goal: a commit that was asked for is asked for again in the same way, or a repeated question would
/// be a rollback of what is decided.
#[tokio::test]
async fn a_veto_after_the_commit_was_asked_for_is_too_late() {
    let whole = context();
    assert!(matches!(whole.close(), Closing::Plain));
    whole.mark_veto("late");
    assert!(matches!(whole.close(), Closing::Plain));
}
