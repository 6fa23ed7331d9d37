//! Fills a record, for scripts/bench.

use coracle::outcome::{End, OUTCOME_VERSION, Outcome, Usage};
use coracle::record::{AfterAttempt, JobTrigger, NewExecution, Record};
use coracle::state_dir::StateDir;
use coracle::sys::process::ProcessIdentity;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// First argument of this mode.
pub const MODE: &str = "records";

/// Further jobs than one, so that a list by job has something to leave out.
const JOBS: usize = 20;

/// Generates `count` ended executions in a state root.
pub fn main(root: &str, count: &str) -> ExitCode {
    let count: usize = count.parse().expect("a number of records");
    let state = StateDir::open(Some(Path::new(root))).expect("a state root");
    let record = Record::open(&state).expect("a record");
    let me = ProcessIdentity::current().expect("this process");
    let spec = serde_json::json!({"generated": true});
    for number in 0..count {
        let (id, now) = (uuid::Uuid::now_v7().to_string(), jiff::Timestamp::now());
        let job = format!("job-{}", number % JOBS);
        let mut new = NewExecution::new(&id, &job, JobTrigger::Cli, "example.org/image:v1", spec.clone(), now);
        new.ttl = Some(Duration::from_secs(60 * 60));
        new.labels.insert("number".into(), number.to_string());
        record.insert(&new, Some(&me), now).expect("an execution is recorded");
        let code = u8::from(number % 10 == 0);
        let outcome = Outcome {
            version: OUTCOME_VERSION,
            attempt: 1,
            end: End::Exited { code },
            started_at: Some(now),
            completed_at: now,
            elapsed: Duration::from_millis(20),
            usage: Usage::default(),
            notes: Vec::new(),
        };
        record.end_attempt(&id, 1, &outcome, AfterAttempt::Final).expect("its end is recorded");
    }
    ExitCode::SUCCESS
}
