//! What an operator decides, as an event.

use pactum_core::event::{Event, Resolve, Target};
use pactum_core::step::ReplyTo;

use super::enums;
use super::error::invalid;
use super::requests::{RequestReader, branch_id, check_length};
use crate::v1;

/// The longest reason of a resolution, in bytes: it is kept with the branch.
pub const RESOLUTION_REASON_BYTES_MAX: usize = 1024;

impl RequestReader {
    /// An operator's decision on a parked branch.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn resolve(
        &self,
        request: &v1::ResolveBranchRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        // An operator speaks to one coordinator; what it does not know is simply unknown.
        let target = Target { xid: self.operator_xid(&request.xid)?, store_named: false };
        let branch = branch_id("branch_id", request.branch_id)?;
        let resolution = enums::resolution(request.resolution)?.ok_or_else(|| {
            invalid("resolution", "`resolution` is missing; send retry, restore or keep")
        })?;
        check_length("reason", request.reason.len(), RESOLUTION_REASON_BYTES_MAX)?;
        if request.reason.trim().is_empty() {
            let message = "`reason` is missing; say why, for whoever looks at the history";
            return Err(invalid("reason", message));
        }
        let reason = request.reason.as_str().into();
        Ok(Event::ResolveRequested(Box::new(Resolve { target, branch, resolution, reason, reply })))
    }
}
