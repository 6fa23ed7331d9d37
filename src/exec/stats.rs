//! The executions of a root in numbers.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::JobExecutionId;
use crate::record::{JobTotals, Status};
use std::time::Duration;

pub use crate::record::{OldestWaiting, QueuePosition, Totals};

/// How many ended executions of a job [`RecentEnds`] looks back on.
pub const RECENT: u32 = 100;

/// Jobs with the newest executions that are looked at one by one.
const MOST_JOBS: usize = 1000;

/// What is on record, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    pub totals: Totals,
    /// Those with the newest executions first, at most 1000.
    pub jobs: Vec<JobStats>,
    /// Bytes of the record.
    pub database_size: u64,
}

/// The executions of one job in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct JobStats {
    pub job: String,
    pub executions: u64,
    /// Those that wait for their turn or their next attempt.
    pub waiting: u64,
    /// Those that are being prepared or run.
    pub running: u64,
    pub recent: RecentEnds,
}

/// The newest ended executions of a job, at most [`RECENT`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecentEnds {
    pub completed: u32,
    pub failed: u32,
    pub cancelled: u32,
    /// Of the last attempts of those that completed, by the monotonic clock; `None`: none did.
    pub median: Option<Duration>,
    /// Nineteen of twenty took no longer.
    pub percentile_95: Option<Duration>,
}

impl RecentEnds {
    /// Share of the completed ones among those that nobody cancelled, 0 to 1; `None`: there are none.
    pub fn success_rate(&self) -> Option<f64> {
        let all = self.completed + self.failed;
        (all > 0).then(|| f64::from(self.completed) / f64::from(all))
    }

    fn of(ends: &[(Status, Duration)]) -> RecentEnds {
        let mut recent = RecentEnds::default();
        let mut durations = Vec::new();
        for (status, duration) in ends {
            match status {
                Status::Completed => {
                    recent.completed += 1;
                    durations.push(*duration);
                }
                Status::Failed => recent.failed += 1,
                Status::Cancelled => recent.cancelled += 1,
                Status::Pending | Status::Active => {}
            }
        }
        durations.sort_unstable();
        recent.median = percentile(&durations, 50);
        recent.percentile_95 = percentile(&durations, 95);
        recent
    }
}

/// The smallest of the sorted values that at least so many per cent of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

impl JobExecutor {
    /// Numbers of everything on record; of each job too, or of one alone. What it costs grows with the number of
    /// jobs and of executions that have not ended; the others are only counted.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn stats(&self, job: Option<&str>) -> Result<Stats, ExecError> {
        let record = self.record();
        let jobs = match job {
            Some(job) => vec![record.totals_of(job)?],
            None => record.job_totals(MOST_JOBS)?,
        };
        let jobs = jobs.into_iter().map(|totals| self.with_recent(totals)).collect::<Result<_, _>>()?;
        Ok(Stats { totals: record.totals()?, jobs, database_size: record.size()? })
    }

    /// Numbers of one job; all zero when it has no executions.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn job_stats(&self, job: &str) -> Result<JobStats, ExecError> {
        self.with_recent(self.record().totals_of(job)?)
    }

    fn with_recent(&self, totals: JobTotals) -> Result<JobStats, ExecError> {
        let JobTotals { job, executions, waiting, occupied } = totals;
        let recent = RecentEnds::of(&self.record().recent_ends(&job, RECENT)?);
        Ok(JobStats { job, executions, waiting, running: occupied, recent })
    }

    /// What an execution waits for in the queue; `None` when it does not wait, or waits for a time.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn queue_position(&self, id: &JobExecutionId) -> Result<Option<QueuePosition>, ExecError> {
        Ok(self.record().queue_position(id.as_str())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let seconds = |range: std::ops::RangeInclusive<u64>| range.map(Duration::from_secs).collect::<Vec<_>>();
        let both = |values: &[Duration]| [50, 95].map(|percent| percentile(values, percent).map(|it| it.as_secs()));
        assert_eq!(both(&[]), [None, None]);
        assert_eq!(both(&seconds(7..=7)), [Some(7), Some(7)]);
        assert_eq!(both(&seconds(1..=2)), [Some(1), Some(2)]);
        assert_eq!(both(&seconds(1..=100)), [Some(50), Some(95)]);
    }

    #[test]
    fn what_was_cancelled_is_no_failure() {
        let second = Duration::from_secs(1);
        let ends = [(Status::Completed, second), (Status::Cancelled, 9 * second), (Status::Failed, 8 * second)];
        let recent = RecentEnds::of(&ends);
        assert_eq!((recent.completed, recent.failed, recent.cancelled), (1, 1, 1));
        assert_eq!((recent.success_rate(), recent.percentile_95), (Some(0.5), Some(second)));
        assert_eq!(RecentEnds::of(&ends[1..2]).success_rate(), None);
    }
}
