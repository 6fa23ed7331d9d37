//! From the pipe to the store.

use super::super::error::{one_line, say};
use super::error::S3Error;
use super::pipes::Commit;
use super::store::Store;
use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// Bytes of a part: one is sent while the next is read. All parts but the last are equal, which some stores want.
const PART: usize = 12 << 20;
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const MOST_PARTS: u64 = 10_000;

/// Returns when the store has acknowledged the whole object, which it shows only then.
pub async fn push(store: &Store, mut pipe: pipe::Receiver, commit: Commit) -> Result<(), S3Error> {
    let first = or_abandoned(store, &commit, part(store, &mut pipe)).await?;
    if first.len() < PART {
        return or_abandoned(store, &commit, async {
            committed(store, &commit).await?;
            let stored = store.client.put(&store.location, first.into()).await;
            stored.map(drop).map_err(|error| store.failed(error))
        })
        .await;
    }
    let mut upload = or_abandoned(store, &commit, async {
        store.client.put_multipart(&store.location).await.map_err(|error| store.failed(error))
    })
    .await?;
    let sent = async {
        send(store, upload.as_mut(), first, &mut pipe).await?;
        committed(store, &commit).await?;
        upload.complete().await.map(drop).map_err(|error| store.failed(error))
    };
    let result = or_abandoned(store, &commit, sent).await;
    if result.is_err()
        && let Err(error) = upload.abort().await
    {
        // The transfer's own error is the one to end with.
        let place = &store.place;
        say(&format!("the parts of {place} that were stored may still take room: {}", one_line(&store.failed(error))));
    }
    result
}

/// Sends `first` and what follows it.
async fn send(
    store: &Store,
    upload: &mut dyn MultipartUpload,
    first: Vec<u8>,
    pipe: &mut pipe::Receiver,
) -> Result<(), S3Error> {
    let mut next = first;
    for _ in 0..MOST_PARTS {
        if next.is_empty() {
            return Ok(());
        }
        let is_last = next.len() < PART;
        let sent = upload.put_part(next.into());
        let sent = async { sent.await.map_err(|error| store.failed(error)) };
        if is_last {
            return sent.await;
        }
        ((), next) = tokio::try_join!(sent, part(store, pipe))?;
    }
    if next.is_empty() {
        return Ok(());
    }
    Err(S3Error::TooLong { place: store.place.clone(), limit: PART as u64 * MOST_PARTS })
}

/// The next [`PART`] bytes, fewer at the end.
async fn part(store: &Store, pipe: &mut pipe::Receiver) -> Result<Vec<u8>, S3Error> {
    let mut part = Vec::with_capacity(PART);
    let mut pipe = pipe.take(PART as u64);
    // Asked when it is full, a vector grows.
    while part.len() < PART {
        let read = pipe.read_buf(&mut part).await;
        if read.map_err(|source| S3Error::Read { place: store.place.clone(), source })? == 0 {
            break;
        }
    }
    Ok(part)
}

async fn committed(store: &Store, commit: &Commit) -> Result<(), S3Error> {
    if commit.has_come().await { Ok(()) } else { Err(S3Error::NotCommitted { place: store.place.clone() }) }
}

/// What `work` results in, unless it turns out before that the content will not be complete.
async fn or_abandoned<T>(
    store: &Store,
    commit: &Commit,
    work: impl Future<Output = Result<T, S3Error>>,
) -> Result<T, S3Error> {
    tokio::select! {
        result = work => result,
        () = commit.will_not_come() => Err(S3Error::NotCommitted { place: store.place.clone() }),
    }
}
