//! With containers.

use super::Subject;
use crate::common::cli::Coracle;
use coracle::spec::{DeploymentSpec, ServiceSpec};
use coracle::{OciRuntime, OciRuntimeConfig, Runtime};
use tokio::net::TcpListener;

/// A front in this process, on the root of the binary.
struct Oci {
    runtime: OciRuntime,
    coracle: Coracle,
    /// It never answers.
    registry: TcpListener,
}

impl Oci {
    async fn new() -> Oci {
        let coracle = Coracle::new();
        let config =
            OciRuntimeConfig { root: Some(coracle.root()), binary: Some(Coracle::binary()), ..Default::default() };
        let runtime = OciRuntime::open(config).expect("a root");
        Oci { runtime, coracle, registry: TcpListener::bind("127.0.0.1:0").await.expect("a port") }
    }

    fn job(&self, body: &str) -> ServiceSpec {
        let mut deployment = DeploymentSpec::from_path(self.coracle.job(body)).expect("a deployment");
        deployment.services.remove("job").expect("a job of that name")
    }
}

impl Subject for Oci {
    fn runtime(&self) -> &dyn Runtime {
        &self.runtime
    }

    fn holds(&self) -> ServiceSpec {
        // Of another signal than that which stops it.
        self.job("command: [trap, USR1]")
    }

    fn floods(&self, lines: usize) -> ServiceSpec {
        self.job(&format!("command: [flood, \"{}\", --lines]", 16 * lines))
    }

    fn never_made(&self) -> ServiceSpec {
        let image = format!("{}/image:v1", self.registry.local_addr().expect("an address"));
        let step = format!("{{ uses: init.run, with: {{ command: [\"true\"], image: \"{image}\" }} }}");
        self.job(&format!("init:\n  steps:\n  - {step}\ncommand: [\"true\"]"))
    }

    async fn being_made(&self) -> impl Sized {
        self.registry.accept().await.expect("a connection")
    }

    fn left(&self) -> Vec<String> {
        self.coracle.leftovers().to_string().lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_container_goes_through_its_states() {
    super::a_container_goes_through_its_states(&Oci::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_that_is_stopped_before_its_start_never_runs() {
    super::one_that_is_stopped_before_its_start_never_runs(&Oci::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_that_never_was_can_be_removed() {
    super::one_that_never_was_can_be_removed(&Oci::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_dropped_half_way_can_be_removed() {
    super::what_is_dropped_half_way_can_be_removed(&Oci::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_is_bounded_and_says_what_it_dropped() {
    super::a_log_is_bounded_and_says_what_it_dropped(&Oci::new().await).await;
}
