//! From what was seen last and what is known now to what has happened between: pure functions.

use crate::engine::{Activity, StepProgress};
use crate::exec::model::{JobExecutionId, JobStatus, StatusChange};
use crate::record::{Attempt, News, Status};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How far an execution had come when it was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// From 1.
    pub attempt: u32,
    pub stage: Stage,
}

/// Later ones are greater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    Pending,
    Initializing {
        /// The init step that runs, and which of its tries.
        step: Option<(String, u32)>,
    },
    Running,
}

impl Stage {
    fn rank(&self) -> u8 {
        match self {
            Stage::Pending => 0,
            Stage::Initializing { .. } => 1,
            Stage::Running => 2,
        }
    }

    fn initializing(step: Option<&StepProgress>) -> Stage {
        Stage::Initializing { step: step.map(|step| (step.id.clone(), step.attempt)) }
    }

    /// What a container does; without one that tells, it is being made.
    pub fn of(activity: Option<&Activity>) -> Stage {
        match activity {
            Some(Activity::Main { .. }) => Stage::Running,
            Some(Activity::Initializing { step, .. }) => Stage::initializing(step.as_ref()),
            None => Stage::Initializing { step: None },
        }
    }
}

/// What is known of an execution now.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub news: &'a News,
    /// Attempts that have ended, as far as they are on record.
    pub ended: &'a [Attempt],
    /// What its container does, while it is active.
    pub activity: Option<&'a Activity>,
    pub now: Timestamp,
}

/// What has happened since `seen` (`None`: since before it existed), in its order, and what is seen now; `None`
/// once it has ended. Each status comes once per attempt, and an init step when another one or another try of it is
/// seen.
pub fn advance(seen: Option<Seen>, known: Known<'_>) -> (Vec<StatusChange>, Option<Seen>) {
    let Known { news, .. } = known;
    let mut walk = Walk { news, seen, changes: Vec::new() };
    let first = walk.seen.as_ref().map_or(1, |seen| seen.attempt);
    for number in first..=news.attempt {
        let attempt = Tried::of(number, known);
        walk.reach(number, Stage::Pending, attempt.queued_at, attempt.again_for);
        if let Some(at) = attempt.initializing_at {
            walk.initialize(number, attempt.step, at);
        }
        if let Some(at) = attempt.running_at {
            walk.reach(number, Stage::Running, at, None);
        }
    }
    match terminal(news) {
        Some(status) => {
            let change = walk.change(news.attempt, status, news.completed_at.unwrap_or(known.now));
            let duration = news.elapsed.filter(|elapsed| !elapsed.is_zero());
            walk.changes.push(StatusChange { reason: news.reason.clone(), duration, ..change });
            (walk.changes, None)
        }
        None => (walk.changes, walk.seen),
    }
}

/// When an attempt reached what, as far as it did.
struct Tried {
    queued_at: Timestamp,
    /// How the attempt before it ended.
    again_for: Option<String>,
    initializing_at: Option<Timestamp>,
    step: Option<StepProgress>,
    running_at: Option<Timestamp>,
}

impl Tried {
    fn of(number: u32, known: Known<'_>) -> Tried {
        let Known { news, ended, activity, now } = known;
        let find = |number| ended.iter().find(|attempt| attempt.number == number);
        let before = find(number - 1);
        let queued_at = match number {
            1 => news.created_at,
            _ => before.map_or(now, |before| before.completed_at),
        };
        let tried = |initializing_at, step, running_at| {
            let again_for = before.and_then(|before| before.reason.clone());
            Tried { queued_at, again_for, initializing_at, step, running_at }
        };
        if number < news.attempt {
            // It ended and was not the last: whatever it was, something was tried.
            let ended = find(number);
            let began = ended.map_or(queued_at, |it| began_at(it.completed_at, it.elapsed));
            tried(Some(began), None, ended.and_then(|ended| ended.started_at))
        } else if let Some(completed_at) = news.completed_at {
            let began = began_at(completed_at, news.elapsed.unwrap_or_default());
            let was_active = news.container_id.is_some() || news.started_at.is_some();
            tried(was_active.then_some(began), None, news.started_at)
        } else if news.status == Status::Active {
            match activity {
                Some(Activity::Main { started_at, .. }) => {
                    let started_at = started_at.unwrap_or(now);
                    tried(Some(started_at), None, Some(started_at))
                }
                Some(Activity::Initializing { step, since, .. }) => tried(Some(*since), step.clone(), None),
                None => tried(Some(now), None, None),
            }
        } else {
            tried(None, None, None)
        }
    }
}

fn began_at(completed_at: Timestamp, elapsed: Duration) -> Timestamp {
    let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
    completed_at.checked_sub(elapsed).unwrap_or(completed_at)
}

fn terminal(news: &News) -> Option<JobStatus> {
    match news.status {
        Status::Pending | Status::Active => None,
        Status::Completed => Some(JobStatus::Completed { exit_code: 0, duration: news.elapsed.unwrap_or_default() }),
        Status::Failed => Some(JobStatus::Failed {
            reason: news.reason.clone().unwrap_or_default(),
            exit_code: news.exit_code.map(i32::from),
        }),
        Status::Cancelled => Some(JobStatus::Cancelled),
    }
}

struct Walk<'a> {
    news: &'a News,
    seen: Option<Seen>,
    changes: Vec<StatusChange>,
}

impl Walk<'_> {
    /// Goes on to a stage, unless it was passed before.
    fn reach(&mut self, attempt: u32, stage: Stage, at: Timestamp, reason: Option<String>) {
        let status = match &stage {
            Stage::Pending => JobStatus::Pending,
            Stage::Initializing { .. } => JobStatus::Initializing,
            Stage::Running => JobStatus::Running,
        };
        if self.see(attempt, stage) {
            let change = self.change(attempt, status, at);
            self.changes.push(StatusChange { reason, ..change });
        }
    }

    fn initialize(&mut self, attempt: u32, step: Option<StepProgress>, at: Timestamp) {
        if self.see(attempt, Stage::initializing(step.as_ref())) {
            let change = self.change(attempt, JobStatus::Initializing, at);
            self.changes.push(StatusChange { step, ..change });
        }
    }

    /// True when it is a stage further on.
    fn see(&mut self, attempt: u32, stage: Stage) -> bool {
        let is_new = match &self.seen {
            Some(seen) if seen.attempt == attempt => match (&seen.stage, &stage) {
                (Stage::Initializing { step: before }, Stage::Initializing { step }) => {
                    step.is_some() && step != before
                }
                (before, stage) => stage.rank() > before.rank(),
            },
            _ => true,
        };
        if is_new {
            self.seen = Some(Seen { attempt, stage });
        }
        is_new
    }

    /// One with nothing but what every change has.
    fn change(&self, attempt: u32, status: JobStatus, at: Timestamp) -> StatusChange {
        StatusChange {
            id: JobExecutionId(self.news.id.clone()),
            job_name: self.news.job_name.clone(),
            attempt,
            status,
            reason: None,
            duration: None,
            step: None,
            trigger: self.news.trigger.clone(),
            at,
        }
    }
}
