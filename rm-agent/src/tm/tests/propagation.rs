//! What a run means inside and outside of another transaction, and what its error means there.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::*;

fn current() -> Option<String> {
    TransactionContext::current().map(|context| context.xid().to_string())
}

/// Runs where it stands, and tells in which transaction the closure ran.
async fn ran(
    agent: &Agent,
    propagation: Propagation,
) -> Result<Finished<Option<String>>, RunError<String>> {
    let run = agent.global("inner").propagation(propagation).run(async |given| {
        let given = given.map(|context: TransactionContext| context.xid().to_string());
        assert_eq!(given, current(), "what is given is what the task is in");
        Ok::<_, String>(given)
    });
    run.await
}

/// Goal: the whole table. Method: each behaviour with and without a transaction around it, against a
/// coordinator that would name a begun one `g:8`.
#[tokio::test(start_paused = true)]
async fn the_seven_behaviours_do_what_their_table_says() {
    use Propagation::{Mandatory, Nested, Never, NotSupported, Required, RequiresNew, Supports};

    for (propagation, outside, inside) in [
        (Required, "own g:8", "joined g:7"),
        (Supports, "none", "joined g:7"),
        (Mandatory, "refused: the running code is in no", "joined g:7"),
        (RequiresNew, "own g:8", "own g:8 of g:7"),
        (NotSupported, "none", "none"),
        (Never, "none", "refused: the running code is inside global transaction `g:7`"),
        (Nested, "own g:8", "joined g:7"),
    ] {
        for (within, expected) in [(false, outside), (true, inside)] {
            let (_fake, mut stream, agent) = Fake::agent().await;
            let outer = within.then(received);
            let running = tokio::spawn({
                let agent = agent.clone();
                async move {
                    match outer {
                        Some(outer) => outer.scope(ran(&agent, propagation)).await,
                        None => ran(&agent, propagation).await,
                    }
                }
            });
            let mut begun_in = String::new();
            if expected.starts_with("own") {
                begun_in = stream.begin(8).await.outer_xid;
                let (correlation, request) = stream.next().await;
                commit(&request);
                stream.send(correlation, committed());
            }
            let shown = match running.await.unwrap() {
                Err(error) => format!("refused: {error}"),
                Ok(Finished { value, ended }) => match (ended, value) {
                    (Ended::Committed { outcome, .. }, Some(xid)) => {
                        assert!(outcome.is_committed());
                        let of = if begun_in.is_empty() { "" } else { " of " };
                        format!("own {xid}{of}{begun_in}")
                    }
                    (Ended::Joined, Some(xid)) => format!("joined {xid}"),
                    (Ended::NoTransaction, None) => "none".to_owned(),
                    other => panic!("{propagation:?}, {within}: {other:?}"),
                },
            };
            assert!(shown.starts_with(expected), "{propagation:?}, {within}: {shown}");
            assert_eq!(stream.until_quiet().await, [], "{propagation:?}, {within}");
        }
    }
}

/// Goal: what a participant of a transaction broke is not committed because its caller looked away.
/// Method: leave a joined run in every way but by Ok, swallow that, and commit.
#[tokio::test(start_paused = true)]
async fn a_joined_run_that_fails_panics_or_is_dropped_vetoes_though_its_caller_goes_on() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    for (way, says) in [
        ("err", "`part`, which is a part of it, failed"),
        ("panic", "`part`, which is a part of it, panicked or was dropped"),
        ("drop", "`part`, which is a part of it, panicked or was dropped"),
    ] {
        let agent = agent.clone();
        let running = tokio::spawn(async move {
            let swallowing = agent.global("whole").run(async |_| {
                let part = agent.global("part").run(async |_| match way {
                    "err" => Err::<(), _>("no".to_owned()),
                    "panic" => panic!("planted"),
                    _ => std::future::pending().await,
                });
                if way == "drop" {
                    assert!(part.now_or_never().is_none());
                } else if let Ok(failed) = AssertUnwindSafe(part).catch_unwind().await {
                    let fate = failed.unwrap_err();
                    assert!(matches!(fate, RunError::Work { fate: Fate::OuterVetoed, .. }));
                }
                Ok::<_, String>(())
            });
            swallowing.await
        });
        stream.begin(7).await;
        let (correlation, Request::Veto(veto)) = stream.next().await else { panic!("no veto") };
        assert_eq!(veto.reason, says);
        stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
        let Err(RunError::RolledBack(outcome)) = running.await.unwrap() else { panic!("{way}") };
        assert_eq!(outcome.decision, Decision::RolledBack(RollbackCause::Vetoed));
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum Failed {
    #[error("sold out")]
    SoldOut,
    #[error("broken")]
    Broken,
    #[error(transparent)]
    Transaction(#[from] Box<TransactionError>),
}

impl PartialEq for RunError<std::convert::Infallible> {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl From<TransactionError> for Failed {
    fn from(error: TransactionError) -> Self {
        Failed::Transaction(Box::new(error))
    }
}

/// Goal: an exception lets its own error commit, and no other; the caller gets both, error and
/// outcome.
#[tokio::test(start_paused = true)]
async fn an_error_that_stands_by_rule_commits_and_is_returned_and_others_roll_back() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let run = |error: Failed| {
        let agent = agent.clone();
        tokio::spawn(async move {
            let global = agent.global("order").no_rollback_on(|error| *error == Failed::SoldOut);
            global.run(async move |_| Err::<(), _>(error)).await
        })
    };
    let standing = run(Failed::SoldOut);
    stream.begin(7).await;
    let (correlation, request) = stream.next().await;
    commit(&request);
    stream.send(correlation, committed());
    let error = standing.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, RunError::Work { fate: Fate::Committed(outcome), .. } if outcome.completed),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the work failed, and what it did is committed by rule: sold out"
    );
    assert_eq!(error.flatten(), Failed::SoldOut);

    let broken = run(Failed::Broken);
    stream.begin(8).await;
    let (correlation, request) = stream.next().await;
    assert!(matches!(request, Request::Rollback(_)), "{request:?}");
    stream.send(correlation, rolled_back(v1::RollbackCause::Requested));
    assert_eq!(broken.await.unwrap().unwrap_err().flatten(), Failed::Broken);

    // The rule was to let it stand, and the coordinator had rolled back already: no caller may take
    // the error for what it means by rule.
    let late = run(Failed::SoldOut);
    stream.begin(9).await;
    let (correlation, _) = stream.next().await;
    stream.send(correlation, rolled_back(v1::RollbackCause::TimedOut));
    let error = late.await.unwrap().unwrap_err();
    assert!(matches!(&error, RunError::Work { fate: Fate::DoesNotStand(_), .. }), "{error:?}");
    let Failed::Transaction(why) = error.flatten() else { panic!("it does not stand") };
    assert_eq!(why.to_string(), "the work is rolled back: RolledBack(TimedOut)");

    // In a transaction that it joined, the same rule is no veto.
    let context = received();
    let joined = context.clone().scope(async {
        let global = agent.global("part").no_rollback_on(|error| *error == Failed::SoldOut);
        global.run(async |_| Err::<(), _>(Failed::SoldOut)).await
    });
    let error = joined.await.unwrap_err();
    assert!(matches!(error, RunError::Work { fate: Fate::Joined, .. }), "{error:?}");
    assert_eq!(context.veto(), None);
}
