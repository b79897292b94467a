//! Attachments of clients that hold no stream: they prove their resources in one call, poll for
//! work, and are forgotten when they have not polled for a while.
//!
//! To the group an attachment is a session like any other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashmap::DashMap;
use pactum_core::event::Event;
use pactum_core::id::NodeId;
use pactum_core::step::Reply;
use pactum_proto::convert::{self, WorkAnswer};
use pactum_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::{Context, stopped};
use crate::dispatch::{End, SessionLink};
use crate::engine::Leading;

/// How many bytes of payloads one take gives out at most, but for the last one.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// The attachments that have not expired, by their ids.
#[derive(Debug)]
pub(crate) struct Attachments {
    open: DashMap<u128, Arc<Attachment>>,
    /// One for each that is open or under way: many that come at once must not pass the limit
    /// together.
    seats: Arc<Semaphore>,
}

impl Attachments {
    pub(crate) fn new(attachments_max: usize) -> Self {
        let seats = Arc::new(Semaphore::new(attachments_max.min(Semaphore::MAX_PERMITS)));
        Attachments { open: DashMap::default(), seats }
    }
}

/// An attachment by long poll.
#[derive(Debug)]
pub(super) struct Attachment {
    id: u128,
    pub(super) node: NodeId,
    pub(super) link: Arc<SessionLink>,
    expires_at: Mutex<Instant>,
    _seat: OwnedSemaphorePermit,
}

impl Attachment {
    fn expires_at(&self) -> Instant {
        *self.expires_at.lock().expect("nothing panics while it holds this lock")
    }

    fn live_until(&self, at: Instant) {
        let mut expires_at =
            self.expires_at.lock().expect("nothing panics while it holds this lock");
        *expires_at = at.max(*expires_at);
    }
}

impl Context {
    /// Attaches resources: all of them, or none.
    pub(super) async fn attach(
        &self,
        request: v1::AttachRequest,
    ) -> Result<v1::Attached, v1::Error> {
        let leading = self.engine.leading_for_attachment()?;
        let (node, proofs) = leading.reader.attach(request)?;
        let seat = Arc::clone(&self.attachments.seats).try_acquire_owned().map_err(|_| {
            let max = self.options.attachment.attachments_max;
            let limit = u64::try_from(max).unwrap_or(u64::MAX);
            let message = format!("{max} attachments are open; try again later, or hold a stream");
            convert::limit_reached("attachments_max", limit, message)
        })?;
        let attachment = Arc::new(Attachment {
            id: self.environment.random(),
            node,
            link: self.engine.links.open(self.options.session.request_window),
            expires_at: Mutex::new(Instant::now() + self.options.attachment.expires_in),
            _seat: seat,
        });
        let session = attachment.link.id();
        // From here on the task below ends the attachment, also if this call is given up.
        self.tasks.spawn("attachment", self.clone().expire(attachment.clone()));

        let opened = self.ask(&leading, |reply| Ok(Event::SessionOpened { session, node, reply }));
        let branch_ids = match opened.await {
            Ok(Reply::BranchIds(block)) => block,
            Ok(_) => return Err(convert::internal("the group gave another kind of answer")),
            Err(error) => {
                attachment.link.end(End::Refused);
                return Err(error);
            }
        };
        let event = |reply| Ok(Event::AttachRequested { session, proofs, reply });
        if let Err(error) = self.ask(&leading, event).await {
            attachment.link.end(End::Refused);
            return Err(error);
        }
        self.attachments.open.insert(attachment.id, attachment.clone());
        if attachment.link.ending().is_cancelled() {
            self.attachments.open.remove(&attachment.id);
            return Err(convert::outcome_unknown());
        }
        let expires_in = self.options.attachment.expires_in.as_millis();
        Ok(v1::Attached {
            attachment_id: attachment.id.to_be_bytes().to_vec().into(),
            store_id: leading.identity.store_bytes(),
            epoch: leading.identity.epoch.0,
            branch_ids: Some(branch_ids.into()),
            expires_in_ms: u32::try_from(expires_in).unwrap_or(u32::MAX),
        })
    }

    /// Ends the attachment when it has expired, or when it was ended otherwise.
    async fn expire(self, attachment: Arc<Attachment>) {
        let session = attachment.link.id();
        loop {
            let expires_at = attachment.expires_at();
            tokio::select! {
                () = attachment.link.ending().cancelled() => break,
                () = sleep_until(expires_at) => {}
            }
            if attachment.expires_at() <= Instant::now() {
                break;
            }
        }
        attachment.link.end(End::Silent);
        self.attachments.open.remove(&attachment.id);
        self.engine.links.remove(session);
        // If the group is gone, so is its memory of the session.
        let _ = self.engine.inbox.send(vec![Event::SessionClosed { session }]).await;
    }

    pub(super) fn attachment(&self, id: &[u8]) -> Result<Arc<Attachment>, v1::Error> {
        let id: [u8; 16] = id.try_into().map_err(|_| {
            let message = "`attachment_id` is missing or not 16 bytes; send what attach answered";
            convert::invalid_over("attachment_id", 16, message)
        })?;
        let attachment = self.attachments.open.get(&u128::from_be_bytes(id));
        attachment.map(|attachment| attachment.clone()).ok_or_else(expired)
    }

    /// Waits for work of an attachment.
    ///
    /// # Cancel safety
    /// Dropped while it waits, nothing is lost. Work whose answer is lost comes again.
    pub(super) async fn take_work(
        &self,
        request: &v1::TakeWorkRequest,
    ) -> Result<Vec<v1::Work>, v1::Error> {
        let leading = self.engine.leading()?;
        let attachment = self.attachment(&request.attachment_id)?;
        let wait = self.take_wait(request)?;
        let until = Instant::now() + wait;
        attachment.live_until(until + self.options.attachment.expires_in);
        let max = usize::try_from(request.max).unwrap_or(usize::MAX);
        loop {
            // Before the look: work that comes in between must wake us.
            let notified = attachment.link.work_notified();
            let work = attachment.link.take_work(max, PAYLOAD_BYTES_MAX);
            if !work.is_empty() {
                let identity = &leading.identity;
                return Ok(work.into_iter().map(|work| work.into_wire(identity)).collect());
            }
            tokio::select! {
                () = notified => {}
                () = attachment.link.ending().cancelled() => return Err(expired()),
                () = sleep_until(until) => return Ok(Vec::new()),
            }
        }
    }

    fn take_wait(&self, request: &v1::TakeWorkRequest) -> Result<Duration, v1::Error> {
        let options = &self.options.attachment;
        if request.max == 0 || request.max > options.take_max {
            let max = options.take_max;
            let message = format!("`max` is {}; send 1 to {max}", request.max);
            return Err(convert::invalid_over("max", u64::from(max), message));
        }
        let wait = Duration::from_millis(u64::from(request.wait_ms));
        if wait > options.take_wait_max {
            let max = u64::try_from(options.take_wait_max.as_millis()).unwrap_or(u64::MAX);
            let message = format!("`wait_ms` is {}; send 0 to {max}", request.wait_ms);
            return Err(convert::invalid_over("wait_ms", max, message));
        }
        Ok(wait)
    }

    /// Takes a client's answers to its work: all of them, or none.
    pub(super) async fn report_work(
        &self,
        leading: &Leading,
        request: v1::ReportWorkRequest,
    ) -> Result<(), v1::Error> {
        let attachment = self.attachment(&request.attachment_id)?;
        let session = attachment.link.id();
        let results = request.results.into_iter();
        let answers = results.map(|result| leading.reader.work_result(result, session));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        let asked = |xid, branch| attachment.link.asked(xid, branch);
        let mut events: Vec<Event> = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                WorkAnswer::CanCommit(question, said) => {
                    self.engine.questions.answer(question, session, said);
                }
                WorkAnswer::PhaseOne(..) | WorkAnswer::PhaseTwo(_) => {
                    events.extend(answer.into_event(attachment.node, asked));
                }
            }
        }
        self.engine.inbox.send(events).await.map_err(|_| stopped())
    }
}

fn expired() -> v1::Error {
    convert::not_attached(
        "attachment_id",
        "the attachment is unknown or has expired; attach again and take work more often",
    )
}
