//! Statuses, as somebody sees them who looks all the time.

use crate::harness::{JOB, World, job, soon};
use coracle::exec::StatusFilter;
use coracle::outcome::{End, StepCause, Stopped};
use coracle::testing::Script;
use coracle::{JobExecution, JobExecutionId, JobStatus};
use std::time::Duration;

/// Looks until the end; each status once, with its attempt.
async fn watched(world: &World, id: &JobExecutionId) -> Vec<(u32, StatusFilter)> {
    let mut seen = Vec::new();
    loop {
        let execution = world.executor.execution(id).await.expect("an execution");
        let now = (execution.attempt, execution.status.filter());
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        assert_eq!(execution.completed_at.is_some(), execution.status.is_terminal());
        assert_eq!(execution.end.is_some(), execution.status.is_terminal());
        if execution.status.is_terminal() {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

fn is_legal(from: (u32, StatusFilter), to: (u32, StatusFilter)) -> bool {
    let rank = |status| match status {
        StatusFilter::Pending => 0,
        StatusFilter::Initializing => 1,
        StatusFilter::Running => 2,
        StatusFilter::Completed | StatusFilter::Failed | StatusFilter::Cancelled => 3,
    };
    // What was too short may not have been seen; nothing else may be left out.
    rank(from.1) < 3 && (to.0 > from.0 || to.0 == from.0 && rank(to.1) > rank(from.1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn they_only_ever_go_forward() {
    let world = World::on_disk().await;
    let short = Duration::from_millis(2);
    let scripts = [
        Script::default().step("one", short).takes(short),
        Script::exits_in_turn(&[1, 1, 0]).takes(short),
        Script::default().step_fails("one", StepCause::Exited { code: 3 }),
        Script::exits(9),
    ];
    for script in scripts {
        world.runtime.on(JOB, script);
        let spec = job("max_concurrent: 1\nretry: {max_attempts: 3, backoff: {initial: 10ms}}");
        let ids = [world.trigger(&spec).await, world.trigger(&spec).await];
        for (at, id) in ids.iter().enumerate() {
            let seen = soon(async {
                if at == 0 {
                    tokio::select! {
                        seen = watched(&world, id) => seen,
                        // Others look at the same time.
                        _ = watched(&world, &ids[1]) => watched(&world, id).await,
                    }
                } else {
                    watched(&world, id).await
                }
            })
            .await;
            assert!(seen.windows(2).all(|pair| is_legal(pair[0], pair[1])), "{seen:?}");
        }
    }
}

/// How it is shown for each way in which it can end.
#[tokio::test(start_paused = true)]
async fn every_end_has_its_status() {
    let world = World::new().await;
    let reason = |execution: &JobExecution| match &execution.status {
        JobStatus::Failed { reason, .. } => reason.clone(),
        _ => String::new(),
    };
    let how = Stopped::Signalled { signal: 9 };
    for (end, status, told) in [
        (End::Exited { code: 0 }, "completed(0)", ""),
        (End::Exited { code: 7 }, "failed(7)", "exited with code 7"),
        (End::Signalled { signal: 11 }, "failed", "killed by SIGSEGV"),
        (End::OomKilled, "failed", "killed by the OOM killer"),
        (End::Deadline { after: Duration::from_secs(1), how: how.clone() }, "failed", "deadline of 1s passed"),
        (End::Cancelled { how }, "cancelled", ""),
        (End::NotExecutable { command: "/bin/x".into(), errno: 2 }, "failed", "failed to execute \"/bin/x\""),
    ] {
        world.runtime.on(JOB, Script::ends(end.clone()));
        let id = world.trigger(&job("")).await;
        let execution = world.end(&id).await;
        assert_eq!(execution.status.to_string(), status);
        assert!(reason(&execution).contains(told), "{execution:?}");
        assert_eq!(execution.end, Some(end));
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_execution_is_shown_as_it_is() {
    let world = World::new().await;
    world.runtime.on(JOB, Script::runs());
    let id = world.trigger(&job("")).await;
    let container = world.running(&id).await;
    let running = world.get(&id).await;
    assert_eq!(running.status, JobStatus::Running);
    assert!(running.started_at.is_some() && running.container_id.is_some() && running.image_digest.is_some());
    assert_eq!((running.completed_at, running.duration, running.attempts), (None, None, Vec::new()));
    container.exit(0);
    let ended = world.end(&id).await;
    assert_eq!(ended.started_at, running.started_at);
    assert!(world.executor.get_execution(&JobExecutionId::new()).await.expect("a look").is_none());
}
