//! Random triggers, ends and cancels, against a model of the queue.

use crate::harness::{World, job_named, settled, soon};
use coracle::JobExecutionId;
use coracle::testing::Script;
use proptest::prelude::*;
use proptest::sample::Index;

/// Jobs with their limits, and that of all.
const JOBS: [(&str, usize); 3] = [("a", 1), ("b", 2), ("c", 9)];
const IN_ALL: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Trigger(usize),
    /// One that runs exits with this code.
    Exit(Index, u8),
    /// Any, ended ones too.
    Cancel(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..JOBS.len()).prop_map(Step::Trigger),
        3 => (any::<Index>(), prop_oneof![Just(0_u8), 1..=255_u8]).prop_map(|(which, code)| Step::Exit(which, code)),
        2 => any::<Index>().prop_map(Step::Cancel),
    ];
    proptest::collection::vec(step, 1..40)
}

#[derive(Debug)]
struct Modelled {
    id: JobExecutionId,
    job: usize,
    status: String,
}

/// Starts what may run, the oldest first.
fn start_what_may(all: &mut [Modelled]) {
    loop {
        let runs = |job: Option<usize>| {
            let running = all.iter().filter(|one| one.status == "running");
            running.filter(|one| job.is_none_or(|job| one.job == job)).count()
        };
        let next = all
            .iter()
            .position(|one| one.status == "pending" && runs(None) < IN_ALL && runs(Some(one.job)) < JOBS[one.job].1);
        match next {
            Some(next) => all[next].status = "running".into(),
            None => return,
        }
    }
}

async fn play(steps: Vec<Step>) {
    let world = World::with(|config| config.max_concurrent = IN_ALL).await;
    for (name, _) in JOBS {
        world.runtime.on(name, Script::runs());
    }
    let mut all: Vec<Modelled> = Vec::new();
    for step in steps {
        match step {
            Step::Trigger(job) => {
                let (name, limit) = JOBS[job];
                let id = world.trigger(&job_named(name, &format!("max_concurrent: {limit}"))).await;
                all.push(Modelled { id, job, status: "pending".into() });
            }
            Step::Exit(which, code) => {
                let running: Vec<usize> = (0..all.len()).filter(|at| all[*at].status == "running").collect();
                if running.is_empty() {
                    continue;
                }
                let one = &mut all[*which.get(&running)];
                soon(world.runtime.started(&one.id, 1)).await.exit(code);
                one.status = if code == 0 { "completed(0)".into() } else { format!("failed({code})") };
            }
            Step::Cancel(which) if !all.is_empty() => {
                let which = which.index(all.len());
                let one = &mut all[which];
                let cancelled = world.executor.cancel(&one.id).await;
                let was_live = one.status == "pending" || one.status == "running";
                assert_eq!(cancelled.is_ok(), was_live, "{one:?} {cancelled:?}");
                if was_live {
                    one.status = "cancelled".into();
                }
            }
            Step::Cancel(_) => {}
        }
        start_what_may(&mut all);
        settled().await;
        for one in &all {
            assert_eq!(world.status(&one.id).await, one.status, "{one:?} of {all:?}");
        }
        let running = all.iter().filter(|one| one.status == "running").count();
        assert_eq!(world.executor.active_execution_count().await.expect("a count"), running);
        assert_eq!(world.runtime.leftovers().len(), running);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_as_its_model(steps in steps()) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        tokio.expect("tokio").block_on(play(steps));
    }
}
