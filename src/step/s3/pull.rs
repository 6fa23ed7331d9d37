//! From the store to the pipe.

use super::error::S3Error;
use super::store::Store;
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

/// Returns when the whole object has been written.
pub async fn pull(store: &Store, mut pipe: pipe::Sender) -> Result<(), S3Error> {
    let found = store.client.get(&store.location).await.map_err(|error| store.failed(error))?;
    let size = found.meta.size;
    let mut content = found.into_stream();
    let mut received = 0;
    while let Some(chunk) = content.try_next().await.map_err(|error| store.failed(error))? {
        received += chunk.len() as u64;
        let place = || store.place.clone();
        pipe.write_all(&chunk).await.map_err(|source| S3Error::Write { place: place(), source })?;
    }
    if received != size {
        return Err(S3Error::TooShort { place: store.place.clone(), received, size });
    }
    Ok(())
}
