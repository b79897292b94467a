//! Nested scopes against a scripted coordinator.

use futures_util::FutureExt as _;

use super::*;

fn scope_answer(status: v1::ScopeStatus, transaction: v1::TransactionStatus) -> Answer {
    let transaction = v1::Outcome { status: transaction.into(), ..v1::Outcome::default() };
    Answer::Scope(v1::ScopeOutcome { status: status.into(), transaction: Some(transaction) })
}

fn undone() -> Answer {
    scope_answer(v1::ScopeStatus::RolledBack, v1::TransactionStatus::Active)
}

async fn asked_to_undo(stream: &mut FakeStream) -> (u64, u64) {
    let (correlation, request) = stream.next().await;
    let Request::RollbackScope(asked) = request else { panic!("no scope rollback: {request:?}") };
    assert_eq!((asked.xid.as_str(), asked.wait()), ("g:7", v1::Wait::Completed));
    (correlation, asked.scope)
}

/// Goal: an inner failure costs the inner work only. Method: a scope records a branch and fails; the
/// coordinator takes two answers to undo it; the outer one commits.
#[tokio::test(start_paused = true)]
async fn a_scope_that_fails_is_undone_before_its_run_ends_and_the_rest_commits_without_it() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let running = tokio::spawn(async move {
        let whole = agent.global("whole").run(async |context| {
            context.record_done(BranchId(1));
            let part = agent.global("part").propagation(Propagation::Nested);
            let part = part.run(async |scope| {
                let scope = scope.unwrap();
                assert_eq!(scope.scopes().len(), 1);
                scope.record_done(BranchId(2));
                Err::<(), _>("short".to_owned())
            });
            let error = part.await.unwrap_err();
            assert!(
                matches!(error, RunError::Work { fate: Fate::Scope(ScopeUndo::Undone), .. }),
                "{error:?}"
            );
            let kept = agent.global("kept").propagation(Propagation::Nested);
            let kept = kept.run(async |scope| {
                scope.unwrap().record_done(BranchId(3));
                Ok::<_, String>(())
            });
            assert!(matches!(kept.await.unwrap().ended, Ended::Joined));
            Ok::<_, String>(())
        });
        whole.await
    });
    stream.begin(7).await;
    let (correlation, scope) = asked_to_undo(&mut stream).await;
    assert_ne!(scope, 0);
    let undoing = scope_answer(v1::ScopeStatus::RollingBack, v1::TransactionStatus::Active);
    stream.send(correlation, undoing);
    let (correlation, again) = asked_to_undo(&mut stream).await;
    assert_eq!(again, scope);
    assert!(!running.is_finished());
    stream.send(correlation, undone());
    let (correlation, request) = stream.next().await;
    assert_eq!(commit(&request).done_branch_ids, [1, 3], "what was undone is not named");
    stream.send(correlation, committed());
    running.await.unwrap().unwrap();
}

/// Goal: work that was to be undone and is not, is not committed.
#[tokio::test(start_paused = true)]
async fn a_scope_that_cannot_be_undone_vetoes_what_is_around_it() {
    let never = scope_answer(v1::ScopeStatus::RollingBack, v1::TransactionStatus::Active);
    let refused = fake::error(v1::ErrorCode::LimitReached);
    let over = scope_answer(v1::ScopeStatus::RolledBack, v1::TransactionStatus::RollingBack);
    for answer in [never, refused, over] {
        let (_fake, mut stream, agent) = Fake::agent().await;
        let transaction = begun(&mut stream, &agent).await;
        let around = agent.begin_nested(transaction.context()).unwrap();
        let scope = agent.begin_nested(around.context()).unwrap();
        scope.context().record_done(BranchId(2));
        let rolling_back = tokio::spawn(scope.rollback());
        while !rolling_back.is_finished() {
            if let Some(Some((correlation, Request::RollbackScope(_)))) =
                stream.next_of_all().now_or_never()
            {
                stream.send(correlation, answer.clone());
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let ScopeUndo::OuterVetoed { reason } = rolling_back.await.unwrap() else { panic!() };
        assert!(around.context().veto().unwrap().contains(&reason), "{reason}");
        assert_eq!(transaction.context().veto(), None, "the scope around it contains it");
        assert!(transaction.context().done_branches().is_empty());
    }
}

/// Goal: who drops a scope cannot wait for it, so the commit does.
#[tokio::test(start_paused = true)]
async fn a_commit_waits_until_a_dropped_scope_is_undone() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    let inside = transaction.context().clone().scope(async {
        let part = agent.global("part").propagation(Propagation::Nested);
        part.run(async |_| std::future::pending::<Result<(), String>>().await).now_or_never()
    });
    assert!(inside.await.is_none());
    let committing = tokio::spawn(transaction.commit());
    let (correlation, _) = asked_to_undo(&mut stream).await;
    assert_eq!(stream.until_quiet().await, [], "no commit yet");
    stream.send(correlation, undone());
    let (correlation, request) = stream.next().await;
    commit(&request);
    stream.send(correlation, committed());
    assert!(committing.await.unwrap().unwrap().is_committed());

    // The same, and it cannot be undone.
    let transaction = begun(&mut stream, &agent).await;
    drop(agent.begin_nested(transaction.context()).unwrap());
    let committing = tokio::spawn(transaction.commit());
    let (correlation, _) = asked_to_undo(&mut stream).await;
    stream.send(correlation, fake::error(v1::ErrorCode::LimitReached));
    let (correlation, Request::Veto(veto)) = stream.next().await else { panic!("no veto") };
    assert!(veto.reason.starts_with("a nested scope could not be rolled back"), "{}", veto.reason);
    stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
    assert!(!committing.await.unwrap().unwrap().is_committed());
}

#[tokio::test(start_paused = true)]
async fn a_commit_does_not_decide_over_a_scope_that_is_still_open() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let transaction = begun(&mut stream, &agent).await;
    let kept = agent.begin_nested(transaction.context()).unwrap();
    kept.keep().await.unwrap();
    let open = agent.begin_nested(transaction.context()).unwrap();
    let committing = tokio::spawn(transaction.commit());
    let (correlation, Request::Veto(veto)) = stream.next().await else { panic!("no veto") };
    assert!(veto.reason.contains("still open"), "{}", veto.reason);
    stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
    assert!(!committing.await.unwrap().unwrap().is_committed());
    drop(open);
}

/// Goal: who vetoed in a scope stops the scope, and its caller decides about the rest.
#[tokio::test(start_paused = true)]
async fn a_veto_in_a_scope_turns_its_success_into_its_rollback_and_the_rest_may_commit() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let running = tokio::spawn(async move {
        let whole = agent.global("whole").run(async |_| {
            let part = agent.global("part").propagation(Propagation::Nested);
            let part = part.run(async |scope| {
                let joined = agent.global("joined").run(async |_| Err::<(), _>("no".to_owned()));
                assert!(joined.await.is_err(), "and is swallowed");
                scope.unwrap().record_done(BranchId(2));
                Ok::<_, String>(())
            });
            let error = part.await.unwrap_err();
            assert!(error.is_retryable());
            let RunError::ScopeVetoed(vetoed) = error else { panic!("{error:?}") };
            assert_eq!(vetoed.undo, ScopeUndo::Undone);
            assert!(vetoed.reason.starts_with("`joined`"), "{}", vetoed.reason);
            Ok::<_, String>(())
        });
        whole.await
    });
    stream.begin(7).await;
    let (correlation, _) = asked_to_undo(&mut stream).await;
    stream.send(correlation, undone());
    let (correlation, request) = stream.next().await;
    assert!(commit(&request).done_branch_ids.is_empty());
    stream.send(correlation, committed());
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_seventeenth_scope_is_refused_before_anything_runs() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let mut context = received();
    for _ in 0..16 {
        let scope = agent.begin_nested(&context).unwrap();
        context = scope.context().clone();
        std::mem::forget(scope);
    }
    let too_deep = context.scope(async {
        let part = agent.global("part").propagation(Propagation::Nested);
        part.run(async |_| -> Result<(), String> { panic!("it must not run") }).await
    });
    let error = too_deep.await.unwrap_err();
    assert!(
        matches!(&error, RunError::Begin(BeginError::TooDeep { depth_max: 16, .. })),
        "{error:?}"
    );
    assert_eq!(stream.until_quiet().await, []);
}
