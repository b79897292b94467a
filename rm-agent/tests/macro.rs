//! `#[global_transaction]` from an application's side: what it accepts compiles here, and does what
//! the closure form does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use pactum_agent::{Agent, AgentOptions, TransactionContext, TransactionError, global_transaction};
use pactum_coordinator::Embedded;

#[derive(Debug, thiserror::Error)]
enum BankError {
    #[error("short of money")]
    Short,
    #[error("closed")]
    Closed,
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

fn current() -> Option<TransactionContext> {
    TransactionContext::current()
}

struct Bank {
    agent: Agent,
    name: String,
}

impl Bank {
    /// An argument is borrowed, one is moved, one is changed; `?` and `return` leave the body.
    #[global_transaction(agent = self.agent, timeout = "5s", wait = decided)]
    async fn transfer<'a>(&'a self, to: &str, mut amount: i64) -> Result<String, BankError> {
        let context = current().unwrap();
        assert!(context.remaining() <= Duration::from_secs(5));
        if amount > 100 {
            return Err(BankError::Short);
        }
        amount += 1;
        self.audit(to).await?;
        Ok(format!("{amount} from {} to {to}", self.name))
    }

    #[global_transaction(agent = &self.agent, propagation = mandatory)]
    async fn audit(&self, to: &str) -> Result<(), BankError> {
        if to.is_empty() { Err(BankError::Closed) } else { Ok(()) }
    }

    #[global_transaction(
        agent = self.agent,
        name = "note",
        propagation = not_supported,
        no_rollback_on = |error: &BankError| matches!(error, BankError::Short | BankError::Closed),
        rollback_on = |error: &BankError| matches!(error, BankError::Closed),
    )]
    async fn note(&self) -> Result<bool, BankError> {
        Ok(current().is_none())
    }
}

/// A reason to roll back that is not ours to shape converts as well.
#[global_transaction(agent = agent, timeout = 2)]
async fn boxed(agent: Arc<Agent>) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let context = current().ok_or("no transaction")?;
    context.mark_veto("planted");
    Ok("7".parse()?)
}

#[tokio::test]
async fn an_annotated_function_runs_as_a_global_transaction() {
    let coordinator = Embedded::start().await.unwrap();
    let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
    let bank = Bank { agent: agent.clone(), name: "a".to_owned() };

    assert_eq!(bank.transfer("b", 30).await.unwrap(), "31 from a to b");
    assert!(current().is_none());
    let short = bank.transfer("b", 101).await.unwrap_err();
    assert!(matches!(short, BankError::Short), "its own error, as it is: {short:?}");
    let closed = bank.transfer("", 1).await.unwrap_err();
    assert!(matches!(closed, BankError::Closed), "{closed:?}");

    let outside = bank.audit("b").await.unwrap_err();
    let BankError::Transaction(TransactionError::Begin(error)) = outside else {
        panic!("{outside:?}")
    };
    assert!(error.to_string().contains("in no global transaction"), "{error}");
    assert!(agent.global("t").run(async |_| bank.note().await).await.unwrap().value);

    let vetoed = boxed(Arc::new(agent.clone())).await.unwrap_err();
    let vetoed = vetoed.downcast_ref::<TransactionError>().unwrap();
    assert!(matches!(vetoed, TransactionError::RolledBack(_)), "{vetoed:?}");
    agent.shutdown().await;
}

/// What is spawned must be `Send`, so what the attribute makes of a function is.
#[tokio::test]
async fn an_annotated_functions_future_can_be_spawned() {
    let coordinator = Embedded::start().await.unwrap();
    let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
    let bank = Arc::new(Bank { agent, name: "a".to_owned() });
    let spawned = tokio::spawn(async move { bank.transfer("b", 1).await });
    assert_eq!(spawned.await.unwrap().unwrap(), "2 from a to b");
}
