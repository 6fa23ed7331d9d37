//! Who waits for the end of which execution or follows its log: those are not forgotten by themselves before they have
//! seen it.
//!
//! Between processes it is a lock on one byte of a file for each execution, so that there is nothing to clean up
//! after whoever dies while waiting.

use super::model::JobExecutionId;
use crate::sys::range_lock::{self, RangeLock};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The waiters of one executor, and what it knows of those of others.
#[derive(Debug)]
pub(super) struct Waiters {
    /// `None`: nobody else can wait.
    path: Option<PathBuf>,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// Open from the first waiter on.
    file: Option<File>,
    waiting: HashMap<JobExecutionId, usize>,
    /// Those that this process has triggered, and whose ends it has not forgotten yet.
    held: HashSet<JobExecutionId>,
}

impl Own {
    fn locks(&self, id: &JobExecutionId) -> bool {
        self.waiting.contains_key(id) || self.held.contains(id)
    }
}

/// While it lives, the execution is not forgotten by itself.
#[derive(Debug)]
pub(super) struct Waiting {
    waiters: Arc<Waiters>,
    id: JobExecutionId,
}

/// Executions that nobody waits for, and which nobody else may forget while it lives.
#[derive(Debug)]
pub(super) struct Alone {
    file: Option<File>,
}

impl Waiters {
    pub fn new(path: Option<PathBuf>) -> Waiters {
        Waiters { path, own: Mutex::default() }
    }

    /// Waits from now on. One that is being forgotten at this moment is so nevertheless: look at the record
    /// after this call. Where files cannot be locked only this process knows.
    pub fn enter(self: &Arc<Waiters>, id: &JobExecutionId) -> Waiting {
        let mut own = self.own();
        self.lock_first(&mut own, id);
        *own.waiting.entry(id.clone()).or_default() += 1;
        drop(own);
        Waiting { waiters: self.clone(), id: id.clone() }
    }

    /// Keeps other processes from forgetting an execution that this one is about to trigger, until it forgets it
    /// itself or lets go. Whoever waits here has then time to begin.
    pub fn hold(&self, id: &JobExecutionId) {
        let mut own = self.own();
        self.lock_first(&mut own, id);
        own.held.insert(id.clone());
    }

    pub fn holds(&self, id: &JobExecutionId) -> bool {
        self.own().held.contains(id)
    }

    pub fn holds_any(&self) -> bool {
        !self.own().held.is_empty()
    }

    pub fn let_go(&self, id: &JobExecutionId) {
        let mut own = self.own();
        if own.held.remove(id) && !own.locks(id) {
            self.unlock(&mut own, id);
        }
    }

    /// Lets go of all that are held, and says which.
    pub fn let_all_go(&self) -> Vec<JobExecutionId> {
        let held: Vec<JobExecutionId> = self.own().held.iter().cloned().collect();
        held.iter().for_each(|id| self.let_go(id));
        held
    }

    fn lock_first(&self, own: &mut Own, id: &JobExecutionId) {
        if !own.locks(id)
            && let Err(error) = self.lock(own, id, RangeLock::Shared)
        {
            tracing::debug!(%error, %id, "others do not see that it is waited for");
        }
    }

    /// It was locked by the same call; a file that cannot be unlocked now is so when it is closed.
    fn unlock(&self, own: &mut Own, id: &JobExecutionId) {
        let _ = self.lock(own, id, RangeLock::Free);
    }

    /// # Errors
    /// When the file cannot be opened.
    pub fn alone(&self) -> io::Result<Alone> {
        Ok(Alone { file: self.open()? })
    }

    /// Adds an execution to those that `alone` holds; false when somebody waits for it or is forgetting it, or
    /// another process holds it. This one holds it no more.
    ///
    /// # Errors
    /// When the file cannot be locked.
    pub fn take(&self, alone: &Alone, id: &JobExecutionId) -> io::Result<bool> {
        if self.own().waiting.contains_key(id) {
            return Ok(false);
        }
        self.let_go(id);
        alone.file.as_ref().map_or(Ok(true), |file| range_lock::set(file, position(id), RangeLock::Alone))
    }

    fn open(&self) -> io::Result<Option<File>> {
        let open = |path| File::options().create(true).truncate(false).read(true).write(true).open(path);
        self.path.as_ref().map(open).transpose()
    }

    fn lock(&self, own: &mut Own, id: &JobExecutionId, lock: RangeLock) -> io::Result<bool> {
        if own.file.is_none() {
            own.file = self.open()?;
        }
        own.file.as_ref().map_or(Ok(true), |file| range_lock::set(file, position(id), lock))
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        // A panic elsewhere leaves a whole map.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut own = self.waiters.own();
        let count = own.waiting.get_mut(&self.id).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if count == 0 {
            own.waiting.remove(&self.id);
            if !own.locks(&self.id) {
                self.waiters.unlock(&mut own, &self.id);
            }
        }
    }
}

/// The random bits of an id. Two executions in the same place wait for each other's waiters, no more.
fn position(id: &JobExecutionId) -> u64 {
    let bits = uuid::Uuid::parse_str(id.as_str()).map_or(0, |id| id.as_u64_pair().1);
    bits & ((1 << 62) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_free(waiters: &Waiters, id: &JobExecutionId) -> bool {
        waiters.take(&waiters.alone().unwrap(), id).unwrap()
    }

    #[test]
    fn the_last_waiter_of_any_executor_counts() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Arc::new(Waiters::new(Some(directory.path().join("lock"))));
        let (here, there) = (open(), open());
        let (id, other) = (JobExecutionId::new(), JobExecutionId::new());
        let (first, second, third) = (here.enter(&id), here.enter(&id), there.enter(&id));
        drop(first);
        assert!(!is_free(&here, &id) && !is_free(&there, &id) && is_free(&here, &other));
        drop(third);
        assert!(!is_free(&here, &id) && !is_free(&there, &id));
        drop(second);
        assert!(is_free(&here, &id) && is_free(&there, &id));
    }

    #[test]
    fn what_is_held_only_its_holder_forgets() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Arc::new(Waiters::new(Some(directory.path().join("lock"))));
        let (here, there) = (open(), open());
        let (one, other) = (JobExecutionId::new(), JobExecutionId::new());
        here.hold(&one);
        here.hold(&other);
        drop(here.enter(&one));
        assert!(!is_free(&there, &one) && !is_free(&there, &other));
        assert!(is_free(&here, &one) && is_free(&there, &one));
        assert_eq!(here.let_all_go(), std::slice::from_ref(&other));
        assert!(is_free(&there, &other) && !here.holds_any());
    }

    #[test]
    fn one_alone_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let waiters = Waiters::new(Some(directory.path().join("lock")));
        let id = JobExecutionId::new();
        let alone = waiters.alone().unwrap();
        assert!(waiters.take(&alone, &id).unwrap());
        assert!(!is_free(&waiters, &id));
        drop(alone);
        assert!(is_free(&waiters, &id));
    }

    #[test]
    fn in_memory_there_are_only_own_ones() {
        let waiters = Arc::new(Waiters::new(None));
        let id = JobExecutionId::new();
        let waiting = waiters.enter(&id);
        assert!(!is_free(&waiters, &id));
        drop(waiting);
        assert!(is_free(&waiters, &id));
    }
}
