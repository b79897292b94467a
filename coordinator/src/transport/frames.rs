//! A client's frames as events: one message in, one batch of events out.

use std::sync::Arc;

use pactum_core::event::Event;
use pactum_core::id::{NodeId, XidNumber};
use pactum_core::lock::wait::ClaimId;
use pactum_core::step::ReplyTo;
use pactum_proto::convert::{self, CanCommit, RequestReader, WorkAnswer};
use pactum_proto::v1::{self, client_frame::Frame};

use crate::dispatch::{Excess, Out, SessionLink, WELCOME};
use crate::engine::Engine;
use crate::options::SessionOptions;

/// What a message comes to.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// For the group, in one go.
    pub(super) events: Vec<Event>,
    /// For the client, from the edge itself.
    pub(super) outs: Vec<Out>,
    /// For participants, with the requests that wait for them.
    pub(super) questions: Vec<(u64, CanCommit)>,
    /// The client broke the protocol so that the session must end.
    pub(super) fatal: bool,
}

/// Reads the frames of one session.
pub(super) struct FrameReader<'a> {
    pub(super) requests: &'a RequestReader,
    pub(super) engine: &'a Engine,
    pub(super) link: &'a Arc<SessionLink>,
    pub(super) node: NodeId,
    pub(super) options: &'a SessionOptions,
}

impl FrameReader<'_> {
    pub(super) fn read(&self, batch: v1::ClientBatch) -> Read {
        let mut read = Read::default();
        let max = self.options.frames_per_message_max;
        if batch.frames.len() > max {
            let limit = u64::try_from(max).unwrap_or(u64::MAX);
            let message =
                format!("the message has {} frames; send at most {max}", batch.frames.len());
            read.refuse(0, convert::invalid_over("frames", limit, message));
            read.fatal = true;
            return read;
        }
        read.events.reserve(batch.frames.len());
        let requests = batch.frames.iter().filter(|frame| awaits_answer(frame));
        let correlations = requests.map(|frame| frame.correlation);
        let excess = self.link.admit(correlations.filter(|correlation| *correlation != 0));
        for frame in batch.frames {
            self.read_frame(frame, &excess, &mut read);
        }
        read
    }

    fn read_frame(&self, frame: v1::ClientFrame, excess: &[(u64, Excess)], read: &mut Read) {
        let correlation = frame.correlation;
        if awaits_answer(&frame)
            && let Err(error) = self.check_correlation(correlation, excess, read)
        {
            return read.refuse(correlation, error);
        }
        let Some(frame) = frame.frame else {
            let message = "the frame is empty or of a kind that this version does not know";
            return read.refuse(correlation, convert::invalid("frame", message));
        };
        match self.event(correlation, frame, read) {
            Ok(Some(event)) => read.events.push(event),
            Ok(None) => {}
            Err(error) => read.refuse(correlation, error),
        }
    }

    fn check_correlation(
        &self,
        correlation: u64,
        excess: &[(u64, Excess)],
        read: &mut Read,
    ) -> Result<(), v1::Error> {
        if correlation == 0 || correlation >= WELCOME {
            let message =
                format!("`correlation` is {correlation}; send 1 to 2^63 - 1 with a request");
            return Err(convert::invalid_over("correlation", WELCOME - 1, message));
        }
        match excess.iter().find(|(refused, _)| *refused == correlation).map(|(_, why)| *why) {
            None => Ok(()),
            Some(Excess::Window) => {
                let window = u64::from(self.options.request_window);
                let message = format!(
                    "{window} requests of the session are under way; wait for answers, as the \
                     welcome said"
                );
                Err(convert::limit_reached("request_window", window, message))
            }
            Some(Excess::Repeated) => {
                // Its answer could not be told from the first one's.
                read.fatal = true;
                let message = format!("a request with correlation {correlation} is under way");
                Err(convert::invalid("correlation", message))
            }
        }
    }

    fn event(
        &self,
        correlation: u64,
        frame: Frame,
        read: &mut Read,
    ) -> Result<Option<Event>, v1::Error> {
        let session = self.link.id();
        let reply = ReplyTo { session, correlation };
        let event = match frame {
            Frame::Begin(begin) => {
                self.engine.admit_begin()?;
                self.requests.begin(begin, Some(self.node), reply)?
            }
            Frame::NamedBegin(begin) => self.named_begin(begin, read),
            Frame::Commit(commit) => self.requests.commit(commit, reply)?,
            Frame::Rollback(rollback) => self.requests.rollback(&rollback, reply)?,
            Frame::RollbackScope(rollback) => self.requests.rollback_scope(&rollback, reply)?,
            Frame::CanCommit(asked) => {
                read.questions.push((correlation, self.requests.can_commit(&asked)?));
                return Ok(None);
            }
            Frame::SubmitSaga(submit) => {
                self.engine.admit_begin()?;
                self.requests.submit_saga(submit, reply)?
            }
            Frame::Veto(veto) => self.requests.veto(&veto, reply)?,
            Frame::Get(get) => self.requests.get(&get, reply)?,
            Frame::Register(register) => self.requests.register(&register, session, reply)?,
            Frame::Claim(claim) => self.requests.claim(&claim, session, reply)?,
            Frame::Check(check) => self.requests.check(&check, session, reply)?,
            Frame::PhaseOne(report) => {
                let reply = (correlation != 0).then_some(reply);
                self.requests.phase_one(&report, self.node, reply)?
            }
            Frame::Attach(resource) => {
                let proofs = vec![self.requests.resource(&resource)?];
                Event::AttachRequested { session, proofs, reply }
            }
            Frame::BranchIds(v1::BranchIdsRequest {}) => {
                Event::BranchIdsRequested { session, reply }
            }
            Frame::Xids(v1::XidsRequest {}) => Event::XidsRequested { session, reply },
            Frame::WorkResult(result) => {
                let answer = match self.requests.work_result(result, session)? {
                    WorkAnswer::CanCommit(question, said) => {
                        self.engine.questions.answer(question, session, said);
                        return Ok(None);
                    }
                    answer @ (WorkAnswer::PhaseOne(..) | WorkAnswer::PhaseTwo(_)) => answer,
                };
                let asked = |xid, branch| self.link.asked(xid, branch);
                return Ok(answer.into_event(self.node, asked));
            }
            Frame::CancelWait(v1::CancelWait { correlation }) => {
                self.link.cancel(correlation);
                Event::WaitCancelled { reply: ReplyTo { session, correlation } }
            }
            Frame::ReleaseClaim(v1::ReleaseClaim { claim_id }) => {
                Event::ClaimReleased { session, claim: ClaimId(claim_id) }
            }
            Frame::Credit(v1::Credit { work }) => {
                self.link.grant(work, self.options.work_queued_max);
                return Ok(None);
            }
            Frame::Ping(v1::Ping {}) => {
                // The answer to our own ping has correlation 0 and wants none.
                if correlation != 0 {
                    read.outs.push(Out::Pong { correlation });
                }
                return Ok(None);
            }
            Frame::Hello(_) => {
                read.fatal = true;
                return Err(convert::invalid("hello", "the session is open; send hello only once"));
            }
        };
        Ok(Some(event))
    }

    /// Nobody waits for a named begin. If it is refused here, the group must know: whoever asks for
    /// the transaction would else be told that its begin is on its way.
    fn named_begin(&self, begin: v1::NamedBegin, read: &mut Read) -> Event {
        let (session, number) = (self.link.id(), XidNumber(begin.number));
        let admitted = self.engine.admit_begin();
        match admitted.and_then(|()| self.requests.named_begin(begin, session)) {
            Ok(event) => event,
            Err(error) => {
                read.refuse(0, error);
                Event::NamedBeginRefused { session, number }
            }
        }
    }
}

impl Read {
    fn refuse(&mut self, correlation: u64, error: v1::Error) {
        self.outs.push(Out::Error { correlation, error: Box::new(error) });
    }
}

/// Whether a frame counts against the request window.
fn awaits_answer(frame: &v1::ClientFrame) -> bool {
    match &frame.frame {
        Some(
            Frame::Begin(_)
            | Frame::Commit(_)
            | Frame::Rollback(_)
            | Frame::RollbackScope(_)
            | Frame::CanCommit(_)
            | Frame::SubmitSaga(_)
            | Frame::Veto(_)
            | Frame::Get(_)
            | Frame::Register(_)
            | Frame::Claim(_)
            | Frame::Check(_)
            | Frame::Attach(_)
            | Frame::BranchIds(_)
            | Frame::Xids(_),
        ) => true,
        // A report may want an answer or not.
        Some(Frame::PhaseOne(_)) => frame.correlation != 0,
        Some(
            Frame::Hello(_)
            | Frame::NamedBegin(_)
            | Frame::WorkResult(_)
            | Frame::Ping(_)
            | Frame::CancelWait(_)
            | Frame::Credit(_)
            | Frame::ReleaseClaim(_),
        )
        | None => false,
    }
}
