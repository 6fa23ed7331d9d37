//! Forgetting ended executions: by itself as jobs and configuration say, and when asked.

use super::error::ExecError;
use super::executor::JobExecutor;
use super::forget::Batch;
use super::model::JobExecutionId;
use crate::causes::with_causes;
use crate::record::{EndedQuery, Record, RecordError};
use crate::spec::Retention;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// Executions that are forgotten one after the other before others get their turn.
const BATCH: usize = 64;

/// Removed executions from which on the room in the record is given back at once.
const WORTH_RECLAIMING: usize = 256;

/// Which ended executions to forget. With neither `all` nor a limit: those that their jobs and the configuration
/// do not keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Instead of what is recorded: those that ended longer ago.
    pub ttl: Option<Duration>,
    /// Instead of what is recorded: all but the newest so many of each job.
    pub keep_last: Option<u32>,
    /// Only those of this job.
    pub job: Option<String>,
    /// Every one.
    pub all: bool,
    /// Says what would go, and removes nothing.
    pub dry_run: bool,
    /// Beside what was recorded with each trigger, when neither `all` nor a limit is given: `ttl` for executions
    /// whose jobs name none, and how many of all jobs to keep.
    pub defaults: Retention,
}

/// What was forgotten, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// In the order of removal.
    pub removed: Vec<JobExecutionId>,
    /// Directories of executions that are on no record.
    pub orphans: Vec<String>,
    /// Disk space of the files, as far as this user can see them.
    pub freed_bytes: u64,
    /// What could not be removed; it stays on record, and is tried again.
    pub problems: Vec<PruneProblem>,
}

/// An execution whose files could not be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneProblem {
    /// Its id, or the name of a directory in the place of one.
    pub id: String,
    /// Why, in words.
    pub message: String,
}

/// Which executions one look finds.
#[derive(Debug)]
enum Selection {
    /// To be removed at their end.
    Departing,
    /// By their own time to live.
    Expired(Timestamp),
    /// By what their job keeps.
    BeyondKept(String),
    /// By what is kept of all jobs: this many, or as many as is recorded.
    BeyondTotal(Option<u32>),
    Ended(EndedQuery),
}

impl Selection {
    fn find(&self, record: &Record, limit: usize) -> Result<Vec<String>, RecordError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self {
            Selection::Departing => record.departing(limit),
            Selection::Expired(now) => record.expired(*now, limit),
            Selection::BeyondKept(job) => record.beyond_keep_last(job, limit),
            Selection::BeyondTotal(kept) => record.beyond_total(*kept, limit),
            Selection::Ended(query) => record.ended(query, limit),
        }
    }
}

impl JobExecutor {
    /// Forgets ended executions. Those that do not end meanwhile are not touched, and neither is one whose end
    /// somebody waits for or whose log somebody follows. Files go first, then the record of them, so that it may be
    /// interrupted at any time; any number of processes may do it at once.
    ///
    /// # Errors
    /// When the record or the directory of executions cannot be used. What cannot be removed is no error but
    /// in the report.
    pub async fn prune(&self, request: &PruneRequest) -> Result<PruneReport, ExecError> {
        let mut report = PruneReport::default();
        let mut stuck = BTreeSet::new();
        let mut found = BTreeSet::new();
        for selection in self.selections(request)? {
            loop {
                let limit = if request.dry_run { usize::MAX } else { BATCH + stuck.len() };
                let mut ids = selection.find(self.record(), limit)?;
                ids.retain(|id| !stuck.contains(id) && !found.contains(id));
                if ids.is_empty() {
                    break;
                }
                let mut sizes = Vec::new();
                for id in &ids {
                    sizes.push((id.clone(), self.size_of(id).await));
                }
                let batch =
                    if request.dry_run { Batch { gone: ids, ..Batch::default() } } else { self.forget(&ids).await? };
                report.freed_bytes +=
                    sizes.iter().filter(|(id, _)| batch.gone.contains(id)).map(|(_, bytes)| bytes).sum::<u64>();
                stuck.extend(batch.waited_for.into_iter().chain(batch.failed.iter().map(|(id, _)| id.clone())));
                report.problems.extend(batch.failed.into_iter().map(PruneProblem::from));
                if request.dry_run {
                    found.extend(batch.gone.iter().cloned());
                }
                report.removed.extend(batch.gone.into_iter().map(JobExecutionId));
            }
        }
        if request.job.is_none() {
            let orphans = self.remove_orphans(request.dry_run).await?;
            report.orphans = orphans.names;
            report.freed_bytes += orphans.bytes;
            report.problems.extend(orphans.failed.into_iter().map(PruneProblem::from));
        }
        if !request.dry_run && report.removed.len() >= WORTH_RECLAIMING {
            self.reclaim().await;
        }
        Ok(report)
    }

    /// Forgets the ended executions that their jobs and the configuration do not keep, and says how many it were.
    ///
    /// # Errors
    /// As [`JobExecutor::prune`].
    pub async fn cleanup_old_executions(&self) -> Result<usize, ExecError> {
        Ok(self.prune(&PruneRequest::default()).await?.removed.len())
    }

    fn selections(&self, request: &PruneRequest) -> Result<Vec<Selection>, ExecError> {
        let now = self.now();
        let job = request.job.clone();
        let jobs = || job.clone().map_or_else(|| self.record().executed_jobs(), |job| Ok(vec![job]));
        let query = EndedQuery { job: job.clone(), ..EndedQuery::default() };
        if request.all {
            return Ok(vec![Selection::Ended(query)]);
        }
        let mut selections = Vec::new();
        if request.ttl.is_none() && request.keep_last.is_none() {
            selections.push(match &job {
                None => Selection::Expired(now),
                Some(_) => Selection::Ended(EndedQuery { expired_by: Some(now), ..query.clone() }),
            });
            if let Some(ttl) = request.defaults.ttl {
                let completed_by = Some(before(now, ttl));
                selections.push(Selection::Ended(EndedQuery { completed_by, without_own_ttl: true, ..query }));
            }
            selections.extend(jobs()?.into_iter().map(Selection::BeyondKept));
            if job.is_none() {
                selections.extend([Selection::BeyondTotal(request.defaults.keep_last), Selection::Departing]);
            }
            return Ok(selections);
        }
        if let Some(ttl) = request.ttl {
            let completed_by = Some(before(now, ttl));
            selections.push(Selection::Ended(EndedQuery { completed_by, ..query.clone() }));
        }
        if request.keep_last.is_some() {
            let beyond = |job| EndedQuery { job: Some(job), beyond: request.keep_last, ..EndedQuery::default() };
            selections.extend(jobs()?.into_iter().map(|job| Selection::Ended(beyond(job))));
        }
        Ok(selections)
    }

    /// Forgets, in a task of its own, some of what need not be kept any more: an execution of `job` has ended, or
    /// time has passed. [`JobExecutor::leave`] waits for it.
    pub(super) fn tidy(&self, job: Option<&str>) {
        let under_way = self.inner.preparing.subscribe();
        let (this, job) = (self.clone(), job.map(str::to_owned));
        tokio::spawn(async move {
            match this.tidy_some(job).await {
                // There may be more, for whoever attends to what expires.
                Ok(removed) if removed >= BATCH => this.inner.changes.notify(),
                Ok(_) => {}
                Err(error) => tracing::warn!(error = with_causes(&error), "ended executions are forgotten later"),
            }
            drop(under_way);
        });
    }

    /// How many it has forgotten.
    ///
    /// # Errors
    /// When the record cannot be used.
    async fn tidy_some(&self, job: Option<String>) -> Result<usize, ExecError> {
        let mut stuck = self.inner.stuck.lock().await;
        let mut selections = vec![Selection::Departing, Selection::Expired(self.now())];
        if let Some(job) = job {
            selections.extend([Selection::BeyondKept(job), Selection::BeyondTotal(None)]);
        }
        let mut removed = 0;
        for selection in selections {
            let mut ids = selection.find(self.record(), BATCH + stuck.len())?;
            ids.retain(|id| !stuck.contains(id));
            if ids.is_empty() {
                continue;
            }
            let batch = self.forget(&ids).await?;
            removed += batch.gone.len();
            for (id, cause) in batch.failed {
                tracing::warn!(id, cause, "an ended execution could not be removed");
                stuck.insert(id);
            }
        }
        if removed >= BATCH {
            self.reclaim().await;
        }
        Ok(removed)
    }

    async fn reclaim(&self) {
        let record = self.inner.record.clone();
        let reclaimed = tokio::task::spawn_blocking(move || record.reclaim()).await;
        if let Ok(Err(error)) = reclaimed {
            tracing::debug!(error = with_causes(&error), "the record keeps its room");
        }
    }

    /// For an executor that stays: forgets what has expired, and tells when something does next.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) fn attend_expiry(&self) -> Result<Option<Duration>, ExecError> {
        let now = self.now();
        if !self.record().expired(now, 1)?.is_empty() && self.inner.stuck.try_lock().is_ok() {
            self.tidy(None);
        }
        let next = self.record().next_expiry(now)?;
        Ok(next.map(|next| next.duration_since(now).try_into().unwrap_or(Duration::ZERO)))
    }
}

/// So long before `now`. Beyond the calendar: nothing ended so long ago.
fn before(now: Timestamp, ttl: Duration) -> Timestamp {
    let oldest = SignedDuration::try_from(ttl).ok().and_then(|ttl| now.checked_sub(ttl).ok());
    oldest.unwrap_or(Timestamp::MIN)
}

impl From<(String, String)> for PruneProblem {
    fn from((id, message): (String, String)) -> PruneProblem {
        PruneProblem { id, message }
    }
}
