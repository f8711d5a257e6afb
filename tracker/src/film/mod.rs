//! Films: the files of a folder, each a channel of its own that anybody may watch at any time.
//!
//! A film is read whole once, to hash it; from then on a part is read when somebody asks for it.

mod file;
mod folder;

use std::path::Path;
use std::sync::Arc;

use cardume_media::SigningKey;
use tokio_util::sync::CancellationToken;

use crate::channel::Channels;
use crate::clock::{unix_seconds, wall_time};
use crate::store::{Store, StoreError};

pub use file::{FilmError, FilmFile};
pub use folder::{Found, films_in};

/// Why a film is not shown.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Film(#[from] FilmError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads those of these films that are new one after the other, and lets each be watched as soon as it is read. Says of those that cannot be
/// watched why not, and goes on. Takes as long as the disk takes; ends early when told to `stop`.
pub fn read_all(films: &[Found], channels: &Channels, store: &Store, stop: &CancellationToken) {
    for film in films {
        let Some(channel) = channels.find(&film.id) else { continue };
        match read(film, store, stop) {
            Ok(file) => {
                let (id, seconds) = (&film.id, file.duration().as_secs());
                tracing::info!(%id, seconds, "film {} is ready", name(&film.path));
                channel.show_film(Arc::new(file));
            }
            Err(Refusal::Film(FilmError::Stopped)) => return,
            Err(error) => {
                tracing::error!(
                    "film {} is not shown: {:#}",
                    film.path.display(),
                    anyhow::Error::from(error)
                );
                channel.give_film_up();
            }
        }
    }
}

fn read(film: &Found, store: &Store, stop: &CancellationToken) -> Result<FilmFile, Refusal> {
    let stamp = FilmFile::stamp(&film.path)?;
    let epoch = store.film_epoch(&film.id, &stamp, unix_seconds(wall_time()))?;
    let key = SigningKey::from_seed(store.signing_seed(&film.id)?);
    let index = store.film_index(&film.id, &stamp)?;
    if let Some(recalled) = index.and_then(|index| FilmFile::recall(&film.path, index, &key)) {
        return Ok(recalled);
    }
    let read = FilmFile::read(&film.path, epoch, &key, stop)?;
    store.keep_film_index(&film.id, &stamp, Some(&read.index()))?;
    Ok(read)
}

/// The file's name, as far as it is text.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
