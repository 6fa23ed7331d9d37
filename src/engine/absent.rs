//! The runtime of a root that nobody has made yet.

use super::{ContainerState, CreateRequest, Created, Image, LogQuery, LogStream, Removal, Runtime, RuntimeError};
use crate::id::ContainerId;
use crate::outcome::Outcome;
use crate::spec::ImageSpec;
use async_trait::async_trait;
use std::path::Path;
use std::time::Duration;

/// Has no containers and makes none: for commands that look at a root, on one that is not there.
#[derive(Debug)]
pub(crate) struct AbsentRuntime;

impl AbsentRuntime {
    fn refused() -> RuntimeError {
        RuntimeError::Other { message: "there is no state root to run anything in".to_owned(), source: None }
    }
}

#[async_trait]
impl Runtime for AbsentRuntime {
    fn root(&self) -> Option<&Path> {
        None
    }

    async fn pull(&self, _image: &ImageSpec, _settings: Option<&serde_json::Value>) -> Result<Image, RuntimeError> {
        Err(AbsentRuntime::refused())
    }

    async fn create(&self, _request: CreateRequest<'_>) -> Result<Created, RuntimeError> {
        Err(AbsentRuntime::refused())
    }

    async fn start(&self, _container: &ContainerId) -> Result<(), RuntimeError> {
        Err(AbsentRuntime::refused())
    }

    async fn wait(&self, _container: &ContainerId) -> Result<Outcome, RuntimeError> {
        Err(AbsentRuntime::refused())
    }

    async fn stop(&self, _container: &ContainerId, _grace: Option<Duration>) -> Result<bool, RuntimeError> {
        Ok(false)
    }

    async fn logs(&self, container: &ContainerId, _query: LogQuery) -> Result<LogStream, RuntimeError> {
        Err(RuntimeError::NoLog { container: container.clone() })
    }

    async fn remove(&self, _container: &ContainerId, _extent: Removal) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn state(&self, _container: &ContainerId) -> Result<ContainerState, RuntimeError> {
        Ok(ContainerState::Absent)
    }
}
