//! Hearing of what becomes of executions, of any process.
//!
//! Nothing is kept for a subscriber that is slow: each asks the record what has changed since it asked last, and
//! how each of those was when it was seen last tells what has happened in between.

mod path;
mod stages;
#[cfg(test)]
mod tests;

use super::changes::Watcher;
use super::error::ExecError;
use super::executor::JobExecutor;
use super::model::{ContainerId, StatusChange};
use crate::engine::{Activity, ContainerState};
use crate::record::{News, Status};
use futures_util::FutureExt;
use futures_util::stream::{self, Stream};
use path::{Known, Seen, Stage, advance};
use stages::{Heard, Stages};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Executions whose changes are read at once.
const BATCH: u32 = 64;

impl JobExecutor {
    /// The changes of status of all executions of the root, of every process, from this call on. Those of one
    /// execution come in their order, each status once per attempt, the terminal one once and when it is durable;
    /// each try of an init step that begins is a further [`Initializing`](super::JobStatus::Initializing) that tells of
    /// the step.
    /// What was too short to be seen is told from what is on record. Whoever is slow misses nothing, but for
    /// executions that have been forgotten more than 4096 changes ago.
    ///
    /// The stream holds the executor like a clone of it, and ends after an error. Must be called and polled in a
    /// tokio runtime with time and I/O.
    pub fn subscribe(&self) -> impl Stream<Item = Result<StatusChange, ExecError>> + Send + 'static + use<> {
        let subscription = Subscription::begin(self.clone()).map(Box::new);
        stream::try_unfold(Begun::Now(subscription), async |begun| {
            let mut subscription = match begun {
                Begun::Now(subscription) => subscription?,
                Begun::Earlier(subscription) => subscription,
            };
            let change = subscription.next().await?;
            Ok(Some((change, Begun::Earlier(subscription))))
        })
    }
}

enum Begun {
    Now(Result<Box<Subscription>, ExecError>),
    Earlier(Box<Subscription>),
}

struct Subscription {
    executor: JobExecutor,
    watcher: Watcher,
    /// Up to which everything has been read.
    revision: i64,
    /// Those that have not ended.
    live: HashMap<String, Live>,
    /// Active ones that may have come further.
    to_look_at: BTreeSet<String>,
    /// `None`: the runtime keeps no files.
    stages: Option<Stages>,
    /// Read and not given yet.
    found: VecDeque<StatusChange>,
}

struct Live {
    seen: Seen,
    news: News,
}

impl Subscription {
    fn begin(executor: JobExecutor) -> Result<Subscription, ExecError> {
        // First the watch, then the first look: nothing happens unheard between them.
        let watcher = executor.inner.changes.watch();
        let mut stages = executor.runtime().root().map(Stages::new);
        let (revision, all) = executor.record().live_news()?;
        let mut live = HashMap::new();
        let mut to_look_at = BTreeSet::new();
        for news in all {
            let id = news.id.clone();
            let stage = if news.status == Status::Active {
                if let Some(stages) = &mut stages {
                    stages.watch(&id, news.container_id.as_deref());
                }
                to_look_at.insert(id.clone());
                // A runtime that has to be waited for is asked when the stream is.
                let now = executor.stage_of(&news).now_or_never().flatten();
                Stage::of(now.as_ref())
            } else {
                Stage::Pending
            };
            live.insert(id, Live { seen: Seen { attempt: news.attempt, stage }, news });
        }
        Ok(Subscription { executor, watcher, revision, live, to_look_at, stages, found: VecDeque::new() })
    }

    async fn next(&mut self) -> Result<StatusChange, ExecError> {
        loop {
            if let Some(change) = self.found.pop_front() {
                return Ok(change);
            }
            let news = self.executor.record().news_since(self.revision, BATCH)?;
            if !news.is_empty() {
                for news in news {
                    self.revision = news.revision;
                    self.tell(news).await?;
                }
                continue;
            }
            if let Some(id) = self.to_look_at.pop_first() {
                self.look(&id).await?;
                continue;
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        let Subscription { watcher, stages, live, to_look_at, .. } = self;
        let is_active = |(_, live): &(&String, &Live)| live.news.status == Status::Active;
        let active = || live.iter().filter(is_active).map(|(id, _)| id.clone());
        let heard = async {
            match stages {
                Some(stages) => stages.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = watcher.changed() => {
                // The executor tells of what it does itself; that is all there is to hear.
                if self.stages.is_none() {
                    to_look_at.extend(active());
                }
            }
            heard = heard => match heard {
                Heard::Of(ids) => to_look_at.extend(ids),
                Heard::All => to_look_at.extend(active()),
            },
        }
    }

    /// Tells what has happened to an execution whose row has changed.
    async fn tell(&mut self, news: News) -> Result<(), ExecError> {
        let id = news.id.clone();
        let seen = self.live.remove(&id).map(|live| live.seen);
        let is_active = news.status == Status::Active;
        if let Some(stages) = &mut self.stages {
            if is_active { stages.watch(&id, news.container_id.as_deref()) } else { stages.forget(&id) }
        }
        if is_active {
            self.to_look_at.insert(id.clone());
        } else {
            self.to_look_at.remove(&id);
        }
        let ended = if news.attempt > 1 { self.executor.record().attempts(&id)? } else { Vec::new() };
        let known = Known { news: &news, ended: &ended, activity: None, now: self.executor.now() };
        let (changes, seen) = advance(seen, known);
        self.found.extend(changes);
        if let Some(seen) = seen {
            self.live.insert(id, Live { seen, news });
        }
        Ok(())
    }

    /// Tells how far the container of an active execution has come.
    async fn look(&mut self, id: &str) -> Result<(), ExecError> {
        let Some(live) = self.live.get_mut(id) else { return Ok(()) };
        let Some(activity) = self.executor.stage_of(&live.news).await else { return Ok(()) };
        // What was seen may be of the next attempt already.
        let row = self.executor.record().get(id)?;
        if row.is_some_and(|row| row.revision == live.news.revision) {
            let known = Known { news: &live.news, ended: &[], activity: Some(&activity), now: self.executor.now() };
            let (changes, seen) = advance(Some(live.seen.clone()), known);
            self.found.extend(changes);
            if let Some(seen) = seen {
                live.seen = seen;
            }
        }
        Ok(())
    }
}

impl JobExecutor {
    async fn stage_of(&self, news: &News) -> Option<Activity> {
        let container = ContainerId(news.container_id.clone()?);
        match self.runtime().state(&container).await {
            Ok(ContainerState::Running(activity)) => Some(activity),
            // Between two looks or after a crash there is nothing to tell.
            _ => None,
        }
    }
}
