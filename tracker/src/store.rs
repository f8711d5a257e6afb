//! What must survive a restart, in one redb file in the data directory.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cardume_wire::{ChannelId, Epoch};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

/// The file in the data directory.
pub const FILE_NAME: &str = "cardume.redb";
const SECRETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("secrets");
const EPOCHS: TableDefinition<'_, &str, u32> = TableDefinition::new("epochs");
/// What a film's file was like when its epoch was chosen, and that epoch, by the film's id.
const FILMS: TableDefinition<'_, &str, (&[u8], u32)> = TableDefinition::new("films");
/// What was found out by reading a film's file whole: what the file was like, the signed catalog, the pages of the index, and
/// where the parts of each track are.
const FILM_INDEXES: TableDefinition<'_, &str, FilmRow<'_>> = TableDefinition::new("film-indexes");
type FilmRow<'a> = (&'a [u8], &'a [u8], Vec<&'a [u8]>, Vec<Vec<PlaceRow>>);
/// First byte of the fragment, its length, and which of its parts it is.
pub type PlaceRow = (u64, u32, u16);
/// Bytes sent in each month, by the month's number.
const EGRESS: TableDefinition<'_, u32, u64> = TableDefinition::new("egress");

/// Why the store does not open, read or write.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made.
    #[error("cannot create the data directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another tracker has it open.
    #[error(
        "{path} is in use: another cardume runs with this data directory; stop it or choose another --data-dir"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is no store, or damaged.
    #[error(
        "{path} cannot be read ({reason}); restore it from a backup, or move it away to begin anew \
         (channels then get new keys)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// A read or a write failed.
    #[error("the store in the data directory failed")]
    Failed(#[from] Box<redb::Error>),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
}

/// What a film's file needs not be read whole for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilmIndex {
    /// The signed catalog.
    pub catalog: Bytes,
    /// The pages of its index.
    pub pages: Vec<Bytes>,
    /// Where the parts of each track are.
    pub places: Vec<Vec<PlaceRow>>,
}

/// The tracker's memory across restarts: keys, secrets, epochs, and what the server has sent.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the store in this directory, making both where they are missing.
    ///
    /// # Errors
    /// When the directory cannot be made, the file is in use, or is no store.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        create_private_dir(directory)
            .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
        let path = directory.join(FILE_NAME);
        let database = Database::create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.clone() },
            other => StoreError::Corrupt { path: path.clone(), reason: other.to_string() },
        })?;
        restrict_to_owner(&path).map_err(|source| StoreError::Directory { path, source })?;
        Ok(Self { database })
    }

    /// The secret of resume tokens, made on first use.
    ///
    /// # Errors
    /// When the store or the system's random numbers fail.
    pub fn resume_secret(&self) -> Result<[u8; 32], StoreError> {
        self.secret("resume")
    }

    /// What the relay's credentials are made with, made on first use.
    ///
    /// # Errors
    /// When the store or the system's random numbers fail.
    pub fn relay_secret(&self) -> Result<[u8; 32], StoreError> {
        self.secret("relay")
    }

    /// The seed of a channel's signing key, made on first use.
    ///
    /// # Errors
    /// When the store or the system's random numbers fail.
    pub fn signing_seed(&self, channel: &ChannelId) -> Result<[u8; 32], StoreError> {
        self.secret(&format!("signing/{channel}"))
    }

    /// A channel's generated stream key, made on first use: 32 hexadecimal digits.
    ///
    /// # Errors
    /// When the store or the system's random numbers fail.
    pub fn stream_key(&self, channel: &ChannelId) -> Result<String, StoreError> {
        let secret = self.secret(&format!("stream-key/{channel}"))?;
        // The hexadecimal digits of the first half: 128 random bits.
        Ok(blake3::Hash::from_bytes(secret).to_hex().chars().take(32).collect())
    }

    /// The epoch of a channel's new broadcast: the present second, or one more than the last if that is larger.
    /// It is on disk when this returns.
    ///
    /// # Errors
    /// When the store fails.
    pub fn next_epoch(&self, channel: &ChannelId, now_seconds: u32) -> Result<Epoch, StoreError> {
        let next = || -> Result<u32, redb::Error> {
            let transaction = self.database.begin_write()?;
            let epoch = {
                let mut epochs = transaction.open_table(EPOCHS)?;
                let last = epochs.get(channel.as_str())?.map_or(0, |epoch| epoch.value());
                let epoch = now_seconds.max(last.saturating_add(1));
                epochs.insert(channel.as_str(), epoch)?;
                epoch
            };
            transaction.commit()?;
            Ok(epoch)
        };
        next().map(Epoch).map_err(failed)
    }

    /// The epoch of a film: the one it had as long as its file's stamp is the same, else as [`Store::next_epoch`] has it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn film_epoch(&self, film: &ChannelId, stamp: &[u8], now_seconds: u32) -> Result<Epoch, StoreError> {
        if let Some(epoch) = self.read_film_epoch(film, stamp).map_err(failed)? {
            return Ok(epoch);
        }
        let epoch = self.next_epoch(film, now_seconds)?;
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(FILMS)?.insert(film.as_str(), (stamp, epoch.0))?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(failed).map(|()| epoch)
    }

    /// What was found out about a film when its file had this stamp.
    ///
    /// # Errors
    /// When the store fails.
    pub fn film_index(&self, film: &ChannelId, stamp: &[u8]) -> Result<Option<FilmIndex>, StoreError> {
        let read = || -> Result<Option<FilmIndex>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let Some(table) = existing(transaction.open_table(FILM_INDEXES))? else { return Ok(None) };
            let Some(row) = table.get(film.as_str())? else { return Ok(None) };
            let (known_stamp, catalog, pages, places) = row.value();
            let pages = pages.into_iter().map(Bytes::copy_from_slice).collect();
            let index = FilmIndex { catalog: Bytes::copy_from_slice(catalog), pages, places };
            Ok((known_stamp == stamp).then_some(index))
        };
        read().map_err(failed)
    }

    /// Remembers that for the next start; `None` forgets it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn keep_film_index(
        &self,
        film: &ChannelId,
        stamp: &[u8],
        index: Option<&FilmIndex>,
    ) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(FILM_INDEXES)?;
                if let Some(FilmIndex { catalog, pages, places }) = index {
                    let pages = pages.iter().map(|page| &page[..]).collect();
                    table.insert(film.as_str(), (stamp, &catalog[..], pages, places.clone()))?;
                } else {
                    table.remove(film.as_str())?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(failed)
    }

    /// What counts as sent in each month: the month's number, as given to [`Store::keep_egress`], and bytes.
    ///
    /// # Errors
    /// When the store fails.
    pub fn egress(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let read = || -> Result<Vec<(u32, u64)>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let Some(table) = existing(transaction.open_table(EGRESS))? else { return Ok(Vec::new()) };
            let entry = |entry: Result<(redb::AccessGuard<'_, u32>, redb::AccessGuard<'_, u64>), _>| {
                entry.map(|(month, len)| (month.value(), len.value()))
            };
            Ok(table.iter()?.map(entry).collect::<Result<_, redb::StorageError>>()?)
        };
        read().map_err(failed)
    }

    /// Says for these months what counts as sent. It is on disk when this returns.
    ///
    /// # Errors
    /// When the store fails.
    pub fn keep_egress(&self, months: &[(u32, u64)]) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(EGRESS)?;
                for (month, len) in months {
                    table.insert(month, len)?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(failed)
    }

    /// The secret of this name; a random one is made and kept when there is none.
    fn secret(&self, name: &str) -> Result<[u8; 32], StoreError> {
        if let Some(secret) = self.read_secret(name).map_err(failed)? {
            return Ok(secret);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        self.write_secret(name, &secret).map_err(failed)?;
        Ok(secret)
    }

    /// `None` when the film's file was another one.
    fn read_film_epoch(&self, film: &ChannelId, stamp: &[u8]) -> Result<Option<Epoch>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let Some(table) = existing(transaction.open_table(FILMS))? else { return Ok(None) };
        let Some(known) = table.get(film.as_str())? else { return Ok(None) };
        let (known_stamp, epoch) = known.value();
        Ok((known_stamp == stamp).then_some(Epoch(epoch)))
    }

    fn read_secret(&self, name: &str) -> Result<Option<[u8; 32]>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let Some(table) = existing(transaction.open_table(SECRETS))? else { return Ok(None) };
        Ok(table.get(name)?.and_then(|secret| secret.value().try_into().ok()))
    }

    fn write_secret(&self, name: &str, secret: &[u8; 32]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(SECRETS)?.insert(name, secret.as_slice())?;
        transaction.commit()?;
        Ok(())
    }
}

/// `None` for a table that nothing was written to yet.
fn existing<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn failed(error: redb::Error) -> StoreError {
    StoreError::Failed(Box::new(error))
}

/// The store holds secrets: the directory is made for its owner alone. One that exists keeps its mode.
fn create_private_dir(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(unix)]
fn restrict_to_owner(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn restrict_to_owner(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> ChannelId {
        "live".parse().unwrap()
    }

    #[test]
    fn secrets_survive_a_restart_and_differ_from_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let read = || {
            let store = Store::open(directory.path()).unwrap();
            let key = store.stream_key(&channel()).unwrap();
            (store.resume_secret().unwrap(), store.signing_seed(&channel()).unwrap(), key)
        };
        let first = read();
        assert_eq!(read(), first);
        assert_ne!(first.0, first.1);
        assert_eq!(first.2.len(), 32);
    }

    #[test]
    fn epochs_grow_even_when_the_clock_stands_still_or_goes_back() {
        let directory = tempfile::tempdir().unwrap();
        let next = |now| Store::open(directory.path()).unwrap().next_epoch(&channel(), now).unwrap().0;
        assert_eq!([next(1000), next(1000), next(900), next(2000)], [1000, 1001, 1002, 2000]);
    }

    #[test]
    fn a_film_keeps_its_epoch_until_its_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let epoch = |stamp: &[u8], now| {
            Store::open(directory.path()).unwrap().film_epoch(&channel(), stamp, now).unwrap().0
        };
        let first = [epoch(b"one", 1000), epoch(b"one", 2000), epoch(b"two", 1000), epoch(b"one", 1000)];
        assert_eq!(first, [1000, 1000, 1001, 1002]);
    }

    #[test]
    fn what_was_found_out_about_a_film_is_remembered_as_long_as_its_file_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(directory.path()).unwrap();
        let (catalog, pages) = (Bytes::from_static(b"catalog"), vec![Bytes::from_static(b"a page")]);
        let index = FilmIndex { catalog, pages, places: vec![vec![(1 << 40, 7, 0), (9, 8, 1)], Vec::new()] };
        assert_eq!(open().film_index(&channel(), b"one").unwrap(), None);
        open().keep_film_index(&channel(), b"one", Some(&index)).unwrap();
        assert_eq!(open().film_index(&channel(), b"two").unwrap(), None);
        assert_eq!(open().film_index(&channel(), b"one").unwrap(), Some(index));
        open().keep_film_index(&channel(), b"one", None).unwrap();
        assert_eq!(open().film_index(&channel(), b"one").unwrap(), None);
    }

    #[test]
    fn what_was_sent_is_remembered_by_month() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(directory.path()).unwrap();
        assert_eq!(open().egress().unwrap(), []);
        open().keep_egress(&[(24_323, 100), (24_322, 7)]).unwrap();
        open().keep_egress(&[(24_323, 50)]).unwrap();
        assert_eq!(open().egress().unwrap(), [(24_322, 7), (24_323, 50)]);
    }

    #[test]
    fn a_store_in_use_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Store::open(directory.path()).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, "this is not a database").unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"this is not a database");
    }
}
