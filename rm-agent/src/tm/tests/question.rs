//! The question before the first try: three answers, and none that stands in the way by itself.

use super::*;

fn opinion(opinion: v1::opinion::Opinion) -> Answer {
    Answer::Opinion(v1::Opinion { opinion: Some(opinion) })
}

#[tokio::test(start_paused = true)]
async fn yes_no_and_unknown_come_back_with_who_and_why_and_silence_is_unknown() {
    let (fake, mut stream, agent) = Fake::agent().await;
    let questions = [
        Question::tcc("bank-a", "reserve", &serde_json::json!({ "amount": 30 })).unwrap(),
        Question::xa("bank-b").unwrap(),
    ];
    let ask = || {
        let (agent, questions) = (agent.clone(), questions.clone());
        tokio::spawn(async move { agent.can_commit(&received(), &questions).await })
    };
    let (resource_id, reason) = ("bank-a".to_owned(), "the account is closed".to_owned());
    let no = v1::No { resource_id, action: "reserve".to_owned(), reason };
    let unknown = v1::Unknown { resource_id: "bank-b".to_owned(), ..v1::Unknown::default() };
    for (answer, expected) in [
        (v1::opinion::Opinion::Yes(v1::Yes {}), CanCommit::Yes),
        (
            v1::opinion::Opinion::No(no),
            CanCommit::No {
                who: "reserve at bank-a".to_owned(),
                why: "the account is closed".to_owned(),
            },
        ),
        (
            v1::opinion::Opinion::Unknown(unknown),
            CanCommit::Unknown { who: "bank-b".to_owned(), why: String::new() },
        ),
    ] {
        let asking = ask();
        let (correlation, request) = stream.next().await;
        let Request::CanCommit(asked) = request else { panic!("no question: {request:?}") };
        assert_eq!(asked.xid, "g:7");
        assert_eq!(asked.questions[0].payload, r#"{"amount":30}"#);
        assert_eq!(asked.questions[1].mode(), v1::BranchMode::Xa);
        stream.send(correlation, opinion(answer));
        assert_eq!(asking.await.unwrap().unwrap(), expected);
    }

    let asking = ask();
    let (correlation, _) = stream.next().await;
    stream.send(correlation, fake::error(v1::ErrorCode::InvalidArgument));
    assert_eq!(asking.await.unwrap().unwrap_err().code(), Some(v1::ErrorCode::InvalidArgument));
    assert_eq!(agent.can_commit(&received(), &[]).await.unwrap(), CanCommit::Yes);
    assert_eq!(stream.until_quiet().await, []);

    let asking = ask();
    fake.set_reachable(false);
    drop(stream);
    let silent = asking.await.unwrap().unwrap();
    assert!(matches!(&silent, CanCommit::Unknown { who, .. } if who == "the coordinator"));
}

#[test]
fn a_question_names_a_resource_and_an_input_that_can_be_sent() {
    let error = Question::at("with space").unwrap_err();
    assert_eq!(error.to_string(), "the resource `with space` that is to be asked");
    let keys_are_no_text = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = Question::saga("bank-a", "book", &keys_are_no_text).unwrap_err();
    assert_eq!(error.to_string(), "the input of action `book`");
}
