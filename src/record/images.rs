//! Image references: what each named when it was last resolved, and when it was used.

use super::error::{Failure, RecordError};
use super::row::{nanoseconds, timestamp};
use super::store::{Durability, Record};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

/// A reference of the store. The record does not look into either text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// In its complete form; rows that schema 1 wrote are as the user typed them.
    pub reference: String,
    /// Of the index or manifest that it names.
    pub digest: String,
    pub pulled_at: Timestamp,
    pub used_at: Timestamp,
}

impl ImageReference {
    fn read(row: &Row<'_>) -> rusqlite::Result<ImageReference> {
        Ok(ImageReference {
            reference: row.get(0)?,
            digest: row.get(1)?,
            pulled_at: timestamp(row.get(2)?),
            used_at: timestamp(row.get(3)?),
        })
    }
}

impl Record {
    /// The image reference that is spelled exactly so.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn image(&self, reference: &str) -> Result<Option<ImageReference>, RecordError> {
        self.read("look up the image", |connection| {
            connection
                .prepare_cached("SELECT reference, digest, pulled_at, used_at FROM images WHERE reference = ?1")?
                .query_row([reference], ImageReference::read)
                .optional()
                .map_err(Failure::Sql)
        })
    }

    /// All image references, in alphabetical order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn images(&self) -> Result<Vec<ImageReference>, RecordError> {
        self.read("list the images", |connection| {
            connection
                .prepare_cached("SELECT reference, digest, pulled_at, used_at FROM images ORDER BY reference")?
                .query_and_then([], ImageReference::read)?
                .collect::<rusqlite::Result<_>>()
                .map_err(Failure::Sql)
        })
    }

    /// Remembers an image reference, in place of an older row.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_image(&self, image: &ImageReference) -> Result<(), RecordError> {
        self.transaction("record the image", Durability::Process, |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO images (reference, digest, pulled_at, used_at) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (reference) DO UPDATE SET digest = ?2, pulled_at = ?3, used_at = ?4",
                )?
                .execute(params![
                    image.reference,
                    image.digest,
                    nanoseconds(image.pulled_at),
                    nanoseconds(image.used_at)
                ])?;
            Ok(())
        })
    }

    /// Gives a reference another spelling. Where that is there already it stays as it is, and the old
    /// one goes.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn respell_image(&self, from: &str, to: &str) -> Result<(), RecordError> {
        self.transaction("record the image", Durability::Process, |transaction| {
            transaction
                .prepare_cached("UPDATE OR IGNORE images SET reference = ?2 WHERE reference = ?1")?
                .execute([from, to])?;
            transaction.prepare_cached("DELETE FROM images WHERE reference = ?1 AND ?1 <> ?2")?.execute([from, to])?;
            Ok(())
        })
    }

    /// Forgets an image reference. False when it is not there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_image(&self, reference: &str) -> Result<bool, RecordError> {
        self.transaction_with_reserve("remove the image", Durability::Process, |transaction| {
            let changed =
                transaction.prepare_cached("DELETE FROM images WHERE reference = ?1")?.execute([reference])?;
            Ok(changed > 0)
        })
    }
}
