//! What has happened since a revision, also to executions that are removed by now.

use super::error::{Failure, RecordError};
use super::model::{JobTrigger, Status};
use super::row::timestamp;
use super::store::Record;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use std::time::Duration;

/// An execution as it was at its last change, as far as that tells what has happened to it.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    pub id: String,
    pub job_name: String,
    pub trigger: JobTrigger,
    pub status: Status,
    pub attempt: u32,
    pub created_at: Timestamp,
    /// Known at the end; when the main process of the last attempt was started.
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub elapsed: Option<Duration>,
    pub exit_code: Option<u8>,
    pub reason: Option<String>,
    /// Of the attempt, once it was active.
    pub container_id: Option<String>,
    pub revision: i64,
}

/// The columns that [`News::read`] expects, in its order. The table `departed` has the same.
const COLUMNS: &str = "id, job_name, trigger_kind, trigger_detail, status, attempt, created_at, started_at, \
     completed_at, elapsed, exit_code, reason, container_id, revision";

impl News {
    fn read(row: &Row<'_>) -> Result<News, Failure> {
        let id: String = row.get(0)?;
        let unreadable = |column| RecordError::Unreadable { id: id.clone(), column, source: None };
        let trigger = JobTrigger::parse(&row.get::<_, String>(2)?, row.get(3)?).ok_or_else(|| unreadable("trigger"))?;
        let status = Status::parse(&row.get::<_, String>(4)?).ok_or_else(|| unreadable("status"))?;
        let elapsed = row.get::<_, Option<i64>>(9)?.map(u64::try_from).transpose();
        let elapsed = elapsed.map_err(|_| unreadable("elapsed time"))?.map(Duration::from_nanos);
        let time = |index| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(timestamp));
        Ok(News {
            job_name: row.get(1)?,
            trigger,
            status,
            attempt: row.get(5)?,
            created_at: timestamp(row.get(6)?),
            started_at: time(7)?,
            completed_at: time(8)?,
            elapsed,
            exit_code: row.get(10)?,
            reason: row.get(11)?,
            container_id: row.get(12)?,
            revision: row.get(13)?,
            id,
        })
    }
}

impl Record {
    /// The executions that are not terminal, and the revision at which they are so: with it begins what
    /// [`Record::news_since`] tells of.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn live_news(&self) -> Result<(i64, Vec<News>), RecordError> {
        self.read("read what runs", |connection| {
            let transaction = connection.unchecked_transaction()?;
            let revision = transaction.query_row("SELECT value FROM revision", [], |row| row.get(0))?;
            let sql = format!("SELECT {COLUMNS} FROM executions WHERE status IN ('pending', 'active')");
            let live = transaction.prepare_cached(&sql)?.query_and_then([], News::read)?.collect::<Result<_, _>>()?;
            Ok((revision, live))
        })
    }

    /// Executions that have changed since that revision, as they are now and each once, in the order of their
    /// last changes, at most `limit`. Those that have been removed are among them for the last 4096 changes of
    /// the root. Ask again with the last one's `revision`.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn news_since(&self, revision: i64, limit: u32) -> Result<Vec<News>, RecordError> {
        self.read("read what is new", |connection: &Connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM executions WHERE revision > ?1 \
                     UNION ALL SELECT {COLUMNS} FROM departed WHERE revision > ?1 ORDER BY revision LIMIT ?2"
                ))?
                .query_and_then(params![revision, limit], News::read)?
                .collect()
        })
    }
}
