//! Users and groups that are known to fail before the image has been looked at. Names are resolved
//! in the image right before the start, and checked there.

use super::error::BundleError;
use super::host::HostFacts;
use crate::plan::OnStepFailure;
use crate::spec::{InitAction, ServiceSpec};

/// The job's own choices against the ids that it will have.
pub(super) fn check(job: &ServiceSpec, host: &HostFacts) -> Result<(), BundleError> {
    let Some(mappings) = &host.rootless else { return Ok(()) };
    if mappings.is_single() && !job.process.extra_groups.is_empty() {
        // setgroups(2) is forbidden where an unprivileged process wrote the map (user_namespaces(7)).
        return Err(BundleError::GroupsForbidden);
    }
    // A step that may fail does so when it comes to that.
    let of_steps = job.init_steps.iter().filter(|step| step.on_failure == OnStepFailure::Fail);
    let of_steps = of_steps.filter_map(|step| match &step.action {
        InitAction::Run { user, .. } => Some((format!("init step {:?}: user", step.id), user.as_ref()?)),
        _ => None,
    });
    let of_job = job.process.user.iter().map(|user| ("user".to_owned(), user));
    for (field, user) in of_steps.chain(of_job) {
        let name = user.split_once(':').map_or(user.as_str(), |(name, _)| name);
        match name.parse() {
            Ok(uid) if !mappings.has_uid(uid) => {
                let limit = mappings.uids.iter().map(|map| map.container.saturating_add(map.count)).max();
                return Err(BundleError::UserNotMapped { field, uid, limit: limit.unwrap_or(0) });
            }
            // A name, or an id that is mapped.
            _ => {}
        }
    }
    Ok(())
}
