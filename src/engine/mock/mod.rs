//! A runtime without containers, for the tests of programs that embed an executor.
//!
//! [`MockRuntime`] keeps the contract of [`Runtime`](super::Runtime) in memory and needs nothing of the host. What
//! the containers of a job do is a [`Script`]: without one they exit with code 0 at once. It has no clock of its
//! own: all that takes time takes tokio's, so that it also runs under `tokio::time::pause`.
//!
//! ```
//! use coracle::testing::{MockRuntime, Script};
//! use coracle::{JobExecutor, JobTrigger};
//! use coracle::spec::ServiceSpec;
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = MockRuntime::new();
//! runtime.on("report", Script::runs().prints("working\n"));
//! let executor = JobExecutor::new(Arc::new(runtime.clone())).await?;
//! let job = ServiceSpec::from_image("example.org/report:v1")?;
//! let id = executor.trigger("report", &job, JobTrigger::Cli).await?;
//! runtime.started(&id, 1).await.exit(3);
//! assert_eq!(executor.wait(&id).await?.status.to_string(), "failed(3)");
//! # Ok(())
//! # }
//! ```

mod call;
mod container;
mod log;
mod runtime;
mod script;

pub use call::{MockCall, MockMethod};
pub use container::MockContainer;
pub use runtime::MockRuntime;
pub use script::Script;
