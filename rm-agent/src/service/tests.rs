//! The steps of a service, asked as the coordinator asks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use pactum_core::id::{BranchId, StoreId};
use pactum_core::transaction::{Action, BranchMode};
use pactum_proto::v1::OfferedAction;
use tokio::time::Instant;

use super::erased::{Erased, Handler};
use super::participant::ServiceParticipant;
use super::{ServiceOptions, ServiceStep};
use crate::action::Registry;
use crate::branch::{Answer, BranchKey, StepAnswer, StepWork, Task, Work};
use crate::session::Participant as _;
use crate::{Acted, Handled, StepCall, StepError};

/// Does what its input says, and notes its calls.
struct Charge(Arc<Mutex<Vec<String>>>);

impl ServiceStep for Charge {
    const NAME: &'static str = "charge";
    type Input = String;
    type Output = String;
    type Error = std::io::Error;

    async fn action(&self, call: &StepCall, input: String) -> Result<Acted<String>, StepError> {
        self.0.lock().unwrap().push(format!("{input} {} {}", call.key(), call.attempt()));
        match input.as_str() {
            "panic" => panic!("planted"),
            "hang" => std::future::pending().await,
            "lost" => Err(std::io::Error::other("the line is dead"))?,
            "broke" => Err(StepError::failed("broke", "no money").last()),
            "busy" => Err(StepError::later(Duration::from_secs(3), "too many at once")),
            "ongoing" => Ok(Acted::Ongoing { ask_after: Some(Duration::from_micros(1)) }),
            "large" => Ok(Acted::Done("x".repeat(70_000))),
            _ => Ok(Acted::Done(format!("charged {input}"))),
        }
    }

    async fn compensate(
        &self,
        call: &StepCall,
        input: String,
        output: Option<String>,
    ) -> Result<Handled, std::io::Error> {
        self.0.lock().unwrap().push(format!("undo {input} {} {output:?}", call.key()));
        match input.as_str() {
            "panic" => panic!("planted"),
            "lost" => Err(std::io::Error::other("the line is dead")),
            "stuck" => Ok(Handled::Attention("call them".to_owned())),
            _ => Ok(Handled::Done),
        }
    }
}

fn service() -> (ServiceParticipant, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::default();
    let steps: Arc<Registry<dyn Handler>> = Arc::default();
    steps.add("charge", Arc::new(Erased(Charge(Arc::clone(&calls))))).unwrap();
    (ServiceParticipant { steps, options: ServiceOptions::default() }, calls)
}

fn work(task: Task, input: &str, result: &str) -> Work {
    let payload = serde_json::to_vec(input).unwrap().into();
    Work {
        key: BranchKey { xid: "g:1".parse().unwrap(), branch: BranchId(3) },
        store: StoreId(1),
        task,
        attempt: 2,
        mode: BranchMode::Saga,
        action: Some(Action { name: "charge".into(), payload }),
        resolution: None,
        step: Some(StepWork {
            until: Instant::now() + Duration::from_secs(30),
            key: "g:1/3".to_owned(),
            result: Bytes::copy_from_slice(result.as_bytes()),
            forward_only: false,
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_an_action_does_becomes_an_answer() {
    let (service, calls) = service();
    let act = async |input| match service.settle(work(Task::Act, input, "")).await {
        Answer::Step(answer) => answer,
        other => panic!("{other:?}"),
    };
    assert_eq!(act("5").await, StepAnswer::Done(br#""charged 5""#.to_vec()));
    assert_eq!(*calls.lock().unwrap(), ["5 g:1/3 2"]);
    let (code, message) = ("broke".to_owned(), "no money".to_owned());
    assert_eq!(act("broke").await, StepAnswer::Failed { code, message, is_final: true });
    let ask_after = Some(Duration::from_micros(1));
    assert_eq!(act("ongoing").await, StepAnswer::Ongoing { ask_after });
    // Of these nobody knows whether they took place, or it did and cannot be told.
    for unknown in ["panic", "hang", "lost", "large"] {
        let answer = act(unknown).await;
        assert!(matches!(answer, StepAnswer::Unknown(_)), "{unknown}: {answer:?}");
    }
    let busy = service.settle(work(Task::Act, "busy", "")).await;
    let Answer::Later { after: Some(after), .. } = busy else { panic!("{busy:?}") };
    assert_eq!(after, Duration::from_secs(3));

    let mut wrong = work(Task::Act, "5", "");
    wrong.action = Some(Action { name: "charge".into(), payload: b"[]"[..].into() });
    let answer = service.settle(wrong).await;
    let Answer::Step(StepAnswer::Failed { code, is_final: true, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(code, "pactum-input");
}

#[tokio::test]
async fn a_compensation_learns_what_is_known_of_its_action() {
    let (service, calls) = service();
    let undo = async |input, result| {
        service.settle(work(Task::Rollback { phase_one_done: false }, input, result)).await
    };
    assert_eq!(undo("5", r#""charged 5""#).await, Answer::Done);
    assert_eq!(undo("5", "").await, Answer::Done);
    let expected = [r#"undo 5 g:1/3 Some("charged 5")"#, "undo 5 g:1/3 None"];
    assert_eq!(*calls.lock().unwrap(), expected);
    for wrong in ["panic", "lost"] {
        let answer = undo(wrong, "").await;
        assert!(matches!(answer, Answer::Later { .. }), "{wrong}: {answer:?}");
    }
    assert!(matches!(undo("stuck", "").await, Answer::Parked(_)));
    let mut not_reversed = work(Task::Rollback { phase_one_done: true }, "5", "");
    if let Some(step) = &mut not_reversed.step {
        step.forward_only = true;
    }
    assert!(matches!(service.settle(not_reversed).await, Answer::Parked(_)));
    // A result that is none of its own is for a person.
    assert!(matches!(undo("5", "[1]").await, Answer::Parked(_)));
}

#[test]
fn steps_are_offered_by_their_names() {
    let (service, calls) = service();
    let offer = OfferedAction { name: "charge".to_owned(), compensable: true };
    assert_eq!(service.offers(), [offer]);
    let again = service.steps.add("charge", Arc::new(Erased(Charge(calls))));
    assert!(again.is_err());
}
