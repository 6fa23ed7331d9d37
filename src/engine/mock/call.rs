//! What a mock runtime was asked for.

use crate::engine::{Removal, Stdio};
use crate::id::ContainerId;
use std::time::Duration;

/// One of the calls of [`Runtime`](crate::engine::Runtime).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MockMethod {
    Pull,
    Create,
    Start,
    Wait,
    Stop,
    Logs,
    Remove,
    State,
}

/// A call that does something; those that only look (`logs`, `state`) are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MockCall {
    /// Of the image as the job names it.
    Pull {
        image: String,
    },
    Create {
        container: ContainerId,
        job: String,
        /// What the executor adds to the job's own environment.
        env: Vec<(String, String)>,
        deadline: Option<Duration>,
        stdio: Stdio,
    },
    Start {
        container: ContainerId,
    },
    Wait {
        container: ContainerId,
    },
    Stop {
        container: ContainerId,
        grace: Option<Duration>,
    },
    Remove {
        container: ContainerId,
        extent: Removal,
    },
}

impl MockCall {
    pub fn method(&self) -> MockMethod {
        match self {
            MockCall::Pull { .. } => MockMethod::Pull,
            MockCall::Create { .. } => MockMethod::Create,
            MockCall::Start { .. } => MockMethod::Start,
            MockCall::Wait { .. } => MockMethod::Wait,
            MockCall::Stop { .. } => MockMethod::Stop,
            MockCall::Remove { .. } => MockMethod::Remove,
        }
    }

    /// `None` for a pull.
    pub fn container(&self) -> Option<&ContainerId> {
        match self {
            MockCall::Pull { .. } => None,
            MockCall::Create { container, .. }
            | MockCall::Start { container }
            | MockCall::Wait { container }
            | MockCall::Stop { container, .. }
            | MockCall::Remove { container, .. } => Some(container),
        }
    }
}
