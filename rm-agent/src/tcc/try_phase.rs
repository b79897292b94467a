//! Phase one of TCC: see `crate::action::phase_one` for the picture.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::fence::{self, Refusal, Verdict};
use pactum_core::transaction::{Action, BranchMode};

use super::{TccAction, context};
use crate::action::{
    ActionDatabase, ActionError, Call, Local, NotCommitted, Opened, PhaseOneError, Shared, call,
    write_body,
};
use crate::barrier::{Mode, OpenRow};
use crate::branch::BranchKey;
use crate::branch::phase_one::PhaseOne;
use crate::context::TransactionContext;
use crate::session::Registration;

pub(super) async fn try_in<DB: ActionDatabase, A: TccAction<DB>>(
    shared: &Shared<DB>,
    action: &Arc<A>,
    transaction: &TransactionContext,
    mut context: A::Context,
) -> Result<A::Output, PhaseOneError<A::Error>> {
    let limit = shared.options.context_bytes_max;
    let body = context::write::<DB, A>(&context, limit)?;
    let (mut phase_one, mut local, row) = begin::<DB, A>(shared, transaction, body).await?;
    let tried = run_try(shared, action, transaction, &mut local, &row, &mut context).await;
    match tried {
        Ok(output) => match shared.commit(&mut phase_one, local, Mode::Tcc).await {
            Ok(()) => Ok(output),
            Err(NotCommitted::ThisTime(error) | NotCommitted::ForGood(error)) => Err(error.into()),
        },
        // In this order: first it is rolled back, then it is said to have failed.
        Err(error) => {
            local.rollback().await;
            drop(phase_one);
            Err(error)
        }
    }
}

/// The branch, registered, and its local transaction with the barrier row in it.
async fn begin<DB: ActionDatabase, A: TccAction<DB>>(
    shared: &Shared<DB>,
    transaction: &TransactionContext,
    body: String,
) -> Result<(PhaseOne, Local<DB>, OpenRow), ActionError> {
    let branch = shared.link.next_branch_id().await?;
    let registration = Registration {
        branch,
        resource: shared.resource.clone(),
        mode: BranchMode::Tcc,
        // The context is in the barrier row, where phase two reads it.
        action: Some(Action { name: A::NAME.into(), payload: [].into() }),
        locks: Vec::new(),
        wait: Duration::ZERO,
        holds_local_locks: false,
        lock_only: false,
        claim: None,
    };
    let row = OpenRow {
        key: BranchKey { xid: transaction.xid_here().clone(), branch },
        store: transaction.store_id(),
        mode: Mode::Tcc,
        format: A::VERSION,
        body,
    };
    let opened = shared.register_and_open(transaction, &registration, fence::Call::Try, &row);
    let (phase_one, opened) = opened.await?;
    match opened {
        Opened::Run(local) => Ok((phase_one, local, row)),
        Opened::Found(verdict, _) => Err(refused(phase_one, A::NAME, verdict)),
    }
}

fn refused(phase_one: PhaseOne, action: &'static str, verdict: Verdict) -> ActionError {
    match verdict {
        Verdict::Refuse(Refusal::RolledBack) => ActionError::RolledBack { action },
        Verdict::Refuse(Refusal::Duplicate | Refusal::Untrusted) => {
            // Another call's row: nothing about it is this one's to report.
            phase_one.settled();
            ActionError::Duplicate { action }
        }
        // Whoever wrote the row has rolled it back meanwhile.
        Verdict::Run
        | Verdict::AlreadyDone
        | Verdict::NotDone
        | Verdict::Bury
        | Verdict::Later
        | Verdict::Park(_) => ActionError::Busy("its barrier row came and went".into()),
    }
}

async fn run_try<DB: ActionDatabase, A: TccAction<DB>>(
    shared: &Shared<DB>,
    action: &Arc<A>,
    transaction: &TransactionContext,
    local: &mut Local<DB>,
    row: &OpenRow,
    context: &mut A::Context,
) -> Result<A::Output, PhaseOneError<A::Error>> {
    let limit = shared.options.handler_wait_max.min(transaction.remaining());
    let tried = async { action.try_phase(local.connection(), context).await };
    let output = match call(limit, tried).await {
        Call::Returned(Ok(output)) => output,
        Call::Returned(Err(error)) => return Err(PhaseOneError::Handler(error)),
        Call::Panicked(message) => {
            local.cut_short();
            return Err(ActionError::Panicked { action: A::NAME, message }.into());
        }
        Call::TimedOut => {
            local.cut_short();
            return Err(ActionError::TimedOut { action: A::NAME, limit }.into());
        }
    };
    let body = context::write::<DB, A>(context, shared.options.context_bytes_max)?;
    if body != row.body {
        write_body(local, row, A::NAME, &body).await?;
    }
    Ok(output)
}
