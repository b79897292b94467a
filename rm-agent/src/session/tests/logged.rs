//! What an operator reads of work that does not get done.

use std::fmt::Debug;
use std::sync::Mutex;

use pactum_proto::v1::server_frame::Frame;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::phase_two::work;
use super::*;

/// Notes the level and the fields of each event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push((*event.metadata().level(), line.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn work_that_answers_later_is_told_aloud_from_the_fourth_attempt_with_its_reason() {
    let participant = Answering(|_: Work| async {
        Answer::Later { after: None, reason: "the row is locked".to_owned() }
    });
    let (_fake, mut stream, _session) = attached(Arc::new(participant)).await;
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for attempt in 1..=5 {
        let kind = if attempt == 5 { v1::WorkKind::Commit } else { v1::WorkKind::Rollback };
        stream.send(0, Frame::Work(v1::Work { attempt, ..work(kind, 1, 100) }));
        assert!(matches!(stream.next().await.1, Request::WorkResult(_)));
    }
    let lines = log.0.lock().unwrap();
    let warned: Vec<&str> = lines
        .iter()
        .filter(|(level, line)| *level == Level::WARN && line.contains("the row is locked"))
        .map(|(_, line)| line.as_str())
        .collect();
    assert_eq!(warned.len(), 2, "{lines:?}");
    assert!(warned[0].contains("txn.attempt=4") && warned[0].contains("txn.branch_id=100"));
    assert!(warned[1].contains("txn.attempt=5"));
}
