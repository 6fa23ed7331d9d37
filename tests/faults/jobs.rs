//! The jobs of a run.

use crate::common::fixture;
use crate::witness::Teller;
use std::path::Path;

/// What the checks know of a job.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub max_concurrent: Option<usize>,
    pub max_attempts: u32,
    /// What comes after the job has said that it runs.
    script: &'static str,
    /// Further fields of the service.
    fields: &'static str,
}

const fn kind(name: &'static str, script: &'static str) -> Kind {
    Kind { name, max_concurrent: None, max_attempts: 1, script, fields: "" }
}

pub const KINDS: &[Kind] = &[
    kind("quick", "true"),
    kind("code", "exit 7"),
    Kind { max_concurrent: Some(1), ..kind("one", "sleep 0.05") },
    Kind { max_concurrent: Some(2), ..kind("flood", "head -c 500000 /dev/zero; exit 3") },
    Kind { max_concurrent: Some(3), ..kind("nap", "sleep 0.3") },
    Kind {
        max_concurrent: Some(4),
        max_attempts: 3,
        fields: "retry: {max_attempts: 3, backoff: {initial: 50ms, multiplier: 2, jitter: 0.5}}",
        ..kind("retry", "[ $CORACLE_ATTEMPT -ge 3 ]")
    },
    Kind {
        max_concurrent: Some(2),
        max_attempts: 2,
        fields: "retry: {max_attempts: 2, backoff: {initial: 300ms}}",
        ..kind("twice", "sleep 0.1; exit 9")
    },
    Kind { fields: "deadline: 1s", ..kind("late", "sleep 1000") },
    Kind { max_concurrent: Some(2), ..kind(STEPS, "sleep 0.1") },
];

/// The job with init steps.
const STEPS: &str = "steps";

impl Kind {
    pub fn of(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    pub fn has_steps(&self) -> bool {
        self.name == STEPS
    }

    /// As a service of a deployment. The job tells of each of its runs in `witness`, a directory of the host.
    fn service(&self, witness: &Path) -> String {
        let tell = |teller: Teller| format!("echo {teller} $CORACLE_EXECUTION_ID $CORACLE_ATTEMPT >>/witness/log");
        let Kind { name, script, fields, .. } = self;
        let init = if self.has_steps() {
            let step = |script: String| format!("{{uses: init.run, with: {{command: {script:?}}}}}");
            format!("    init: {{steps: [{}, {}]}}\n", step(tell(Teller::Step)), step("sleep 0.1".to_owned()))
        } else {
            String::new()
        };
        let limit = self.max_concurrent.map(|limit| format!("max_concurrent: {limit}, ")).unwrap_or_default();
        let script = format!("{}; echo id $CORACLE_EXECUTION_ID; {script}", tell(Teller::Main));
        format!(
            "  {name}:\n    rtype: job\n    image: {{name: {:?}}}\n    \
             command: {{entrypoint: [sh, -c], args: [{script:?}]}}\n    \
             storage: [{{type: bind, source: {:?}, target: /witness}}]\n    \
             stop_grace_period: 1s\n    job: {{{limit}{fields}}}\n{init}",
            fixture::busybox(),
            witness.display().to_string(),
        )
    }
}

/// The deployment of all of them.
pub fn deployment(witness: &Path) -> String {
    let services: String = KINDS.iter().map(|kind| kind.service(witness)).collect();
    format!("version: v1\ndeployment: faults\nservices:\n{services}")
}
