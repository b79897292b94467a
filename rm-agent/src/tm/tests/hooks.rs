//! Who hears of begins and ends, in which order, and that they change nothing.

use std::sync::{Arc, Mutex};

use pactum_core::id::Xid;

use super::*;

/// Writes down what it hears, or panics each time.
#[derive(Clone, Default)]
struct Heard {
    by: &'static str,
    panics: bool,
    all: Arc<Mutex<Vec<String>>>,
}

impl Heard {
    fn note(&self, what: String) {
        self.all.lock().unwrap().push(format!("{}: {what}", self.by));
        assert!(!self.panics, "planted");
    }
}

impl Hooks for Heard {
    fn before_begin(&self, name: &str) {
        self.note(format!("before begin of {name}"));
    }

    fn after_begin(&self, name: &str, begun: Result<&Xid, &BeginError>) {
        let begun = begun.map_or_else(ToString::to_string, ToString::to_string);
        self.note(format!("after begin of {name}: {begun}"));
    }

    fn before_commit(&self, xid: &Xid) {
        self.note(format!("before commit of {xid}"));
    }

    fn after_commit(&self, xid: &Xid, ended: Result<&Outcome, &InDoubt>) {
        let ended = ended
            .map_or_else(|_| "in doubt".to_owned(), |outcome| format!("{:?}", outcome.decision));
        self.note(format!("after commit of {xid}: {ended}"));
    }

    fn before_rollback(&self, xid: &Xid, veto: Option<&str>) {
        self.note(format!("before rollback of {xid}: {veto:?}"));
    }

    fn after_rollback(&self, xid: &Xid, outcome: &Outcome) {
        self.note(format!("after rollback of {xid}: {:?}", outcome.decision));
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_hear_of_the_own_transaction_the_agents_first_and_a_panic_changes_nothing() {
    let (_fake, mut stream, agent) = Fake::agent().await;
    let all = Arc::new(Mutex::new(Vec::new()));
    let agents = Heard { by: "agent", panics: true, all: Arc::clone(&all) };
    let own = Heard { by: "own", panics: false, all: Arc::clone(&all) };
    let agent = agent.with_hooks(agents);
    let running = tokio::spawn(async move {
        let global = agent.global("t").hooks(own);
        global
            .run(async |_| {
                let joined = agent.global("joined").run(async |_| Ok::<_, String>(()));
                joined.await.map(|_| ()).map_err(|error| error.to_string())
            })
            .await
    });
    stream.begin(7).await;
    let (correlation, _) = stream.next().await;
    stream.send(correlation, committed());
    assert!(running.await.unwrap().unwrap().outcome().unwrap().is_committed());
    assert_eq!(
        *all.lock().unwrap(),
        [
            "agent: before begin of t",
            "own: before begin of t",
            "agent: after begin of t: g:7",
            "own: after begin of t: g:7",
            "agent: before commit of g:7",
            "own: before commit of g:7",
            "agent: after commit of g:7: Committed",
            "own: after commit of g:7: Committed",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn hooks_hear_of_a_refused_begin_of_vetoes_drops_and_doubt() {
    let (fake, mut stream, agent) = Fake::agent().await;
    let heard = Heard { by: "agent", ..Heard::default() };
    let all = Arc::clone(&heard.all);
    let agent = agent.with_hooks(heard);
    let take = || std::mem::take(&mut *all.lock().unwrap()).split_off(2);

    let refused = tokio::spawn({
        let agent = agent.clone();
        async move { agent.begin("t", BeginOptions::default()).await }
    });
    let (correlation, _) = stream.next().await;
    stream.send(correlation, fake::error(v1::ErrorCode::LimitReached));
    assert!(refused.await.unwrap().is_err());
    let heard = std::mem::take(&mut *all.lock().unwrap());
    assert_eq!(heard[1], "agent: after begin of t: begin a global transaction");

    let transaction = begun(&mut stream, &agent).await;
    transaction.context().mark_veto("short");
    let committing = tokio::spawn(transaction.commit());
    let (correlation, _) = stream.next().await;
    stream.send(correlation, rolled_back(v1::RollbackCause::Vetoed));
    let _outcome = committing.await.unwrap().unwrap();
    let rolled_back_by = |veto: &str, cause: &str| {
        [
            format!("agent: before rollback of g:7: {veto}"),
            format!("agent: after rollback of g:7: RolledBack({cause})"),
        ]
    };
    assert_eq!(take(), rolled_back_by("Some(\"short\")", "Vetoed"));

    drop(begun(&mut stream, &agent).await);
    let (correlation, _) = stream.next().await;
    stream.send(correlation, rolled_back(v1::RollbackCause::Requested));
    assert_eq!(stream.until_quiet().await, []);
    assert_eq!(take(), rolled_back_by("None", "Requested"));

    let transaction = begun(&mut stream, &agent).await;
    fake.set_reachable(false);
    drop(stream);
    transaction.commit().await.unwrap_err();
    assert_eq!(take(), ["agent: before commit of g:7", "agent: after commit of g:7: in doubt"]);
}
