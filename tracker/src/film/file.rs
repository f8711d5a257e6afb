//! One film on disk: cut once to hash it and make its index, and then read part by part.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cardume_media::boxes::BoxHeader;
use cardume_media::{
    Catalog, CatalogError, Chunk, Cut, CutError, Cutter, Film, FilmMaker, PartId, PublishError, SigningKey,
    Store, StoreLimits, Track, TrackInit,
};
use cardume_wire::{Epoch, TrackId, WallTime};
use tokio_util::sync::CancellationToken;

use crate::store::{FilmIndex, PlaceRow};

/// Bytes read at a time; one system call for each.
const READ_LEN: usize = 64 * 1024;
/// Bytes of a box's header, short and long.
const HEADER_LENS: [usize; 2] = [8, 16];

/// What makes a film of almost any file. Parts of 2 s: few enough for an index of nine hours.
const ADVICE: &str = "make a film of it: ffmpeg -i OLD.mp4 -map 0:v:0 -map '0:a:0?' -c copy \
    -movflags +cmaf+frag_keyframe+empty_moov+default_base_moof -frag_duration 2000000 NEW.mp4";

/// Why a file is no film.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    /// It is no fragmented MP4, or not one that can be cut.
    #[error("{0}; {ADVICE}")]
    Cut(CutError),
    /// One of its parts breaks a limit.
    #[error("{0}; {ADVICE}")]
    Part(PublishError),
    /// Its tracks or their index break a limit.
    #[error("{0}; {ADVICE}")]
    Catalog(CatalogError),
    /// There is nothing in it.
    #[error("it has no tracks; {ADVICE}")]
    Empty,
    /// Its tracks change on the way.
    #[error("its tracks change in the middle: cut it in two films, or encode it again")]
    Change,
    /// The tracker goes down.
    #[error("the tracker goes down")]
    Stopped,
}

/// A film whose media stays on disk.
#[derive(Debug)]
pub struct FilmFile {
    path: PathBuf,
    film: Film,
    /// Knows the tracks, and is fed nothing.
    cutter: Cutter,
    /// Where the parts are, of each track.
    places: Vec<Vec<PlaceRow>>,
}

impl FilmFile {
    /// What changes when the file does: its length and when it was written.
    ///
    /// # Errors
    /// [`FilmError::Unreadable`].
    pub fn stamp(path: &Path) -> Result<[u8; 16], FilmError> {
        let metadata = std::fs::metadata(path)?;
        let written_at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let since_1970 = written_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let micros = u64::try_from(since_1970).unwrap_or(u64::MAX);
        Ok((u128::from(metadata.len()) << 64 | u128::from(micros)).to_be_bytes())
    }

    /// Reads the whole file, a little at a time. The same file, epoch and key give the same catalog.
    ///
    /// # Errors
    /// When it is no film, or `stop` ends it.
    pub fn read(
        path: &Path,
        epoch: Epoch,
        key: &SigningKey,
        stop: &CancellationToken,
    ) -> Result<Self, FilmError> {
        let mut reading = Reading::new(BufReader::with_capacity(READ_LEN, File::open(path)?), epoch);
        while reading.next_box()? {
            if stop.is_cancelled() {
                return Err(FilmError::Stopped);
            }
        }
        reading.cutter.finish().map_err(FilmError::Cut)?;
        let film = reading.maker.ok_or(FilmError::Empty)?.finish(key).map_err(FilmError::Catalog)?;
        let cutter = reading.cutter.resume_at(0);
        Ok(Self { path: path.to_owned(), film, cutter, places: reading.places })
    }

    /// The film as it was when [`FilmFile::index`] was made, without reading more of the file than its head and a part of each
    /// track. `None` when that shows that it is another one, or was not signed with this key: then read it whole.
    pub fn recall(path: &Path, index: FilmIndex, key: &SigningKey) -> Option<Self> {
        let catalog = Catalog::verify(&index.catalog, &key.public()).ok()?;
        let mut reading = Reading::new(BufReader::new(File::open(path).ok()?), catalog.epoch());
        while reading.maker.is_none() && reading.next_box().ok()? {}
        let film = Film { catalog, catalog_bytes: index.catalog, pages: index.pages };
        let cutter = reading.cutter.resume_at(0);
        let recalled = Self { path: path.to_owned(), film, cutter, places: index.places };
        recalled.is_right(key).then_some(recalled)
    }

    /// What [`FilmFile::recall`] needs.
    pub fn index(&self) -> FilmIndex {
        let Film { catalog_bytes, pages, .. } = &self.film;
        FilmIndex { catalog: catalog_bytes.clone(), pages: pages.clone(), places: self.places.clone() }
    }

    /// Whether the first part of each track is what the index says.
    fn is_right(&self, key: &SigningKey) -> bool {
        let mut store = Store::new(key.public(), StoreLimits::default());
        let is_known = store.insert_catalog(&self.film.catalog_bytes).is_ok()
            && self.film.pages.iter().all(|page| store.insert_index(page).is_ok());
        let epoch = self.film.catalog.epoch();
        let first = |track: &Track| PartId { epoch, track: track.id, sequence: 0 };
        let mut firsts = self.film.catalog.tracks().iter().map(first);
        is_known && firsts.all(|part| self.part(part).is_ok_and(|media| store.restore(part, &media)))
    }

    /// Its catalog and index.
    pub fn film(&self) -> &Film {
        &self.film
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.film.catalog.end_us().unwrap_or(0))
    }

    /// Reads one part. It is not checked: the file may be another one by now.
    ///
    /// # Errors
    /// When the file cannot be read, or there is no such part.
    pub fn part(&self, part: PartId) -> io::Result<Bytes> {
        let places = self.places.get(usize::from(part.track.0));
        let place = places.and_then(|places| places.get(part.sequence as usize));
        let (at, len, index) = *place.ok_or_else(|| io::Error::other("the film has no such part"))?;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(at))?;
        let mut fragment = Vec::new();
        file.take(len.into()).read_to_end(&mut fragment)?;
        let mut cutter = self.cutter.resume_at(at);
        cutter.push(&fragment).map_err(io::Error::other)?;
        let mut chunks = std::iter::from_fn(|| cutter.poll()).filter_map(|cut| match cut {
            Cut::Chunk(chunk) => Some(chunk.bytes),
            Cut::Init(_) => None,
        });
        chunks.nth(index.into()).ok_or_else(|| io::Error::other("the part is not there any more"))
    }
}

/// A film that is being read for the first time.
struct Reading {
    file: BufReader<File>,
    position: u64,
    /// Where the last `moof` began.
    fragment_at: u64,
    epoch: Epoch,
    cutter: Cutter,
    /// From the tracks on.
    maker: Option<FilmMaker>,
    places: Vec<Vec<PlaceRow>>,
}

impl Reading {
    fn new(file: BufReader<File>, epoch: Epoch) -> Self {
        let (cutter, places) = (Cutter::new(), Vec::new());
        Self { file, position: 0, fragment_at: 0, epoch, cutter, maker: None, places }
    }

    /// Takes one box; false at the end of the file.
    fn next_box(&mut self) -> Result<bool, FilmError> {
        let at = self.position;
        let Some(header) = self.header()? else { return Ok(false) };
        if &header.kind.0 == b"moof" {
            self.fragment_at = at;
        }
        self.feed(at.saturating_add(header.len))?;
        self.take_cuts()?;
        Ok(true)
    }

    /// The next box's header, which the cutter sees, too; `None` at the end of the file.
    fn header(&mut self) -> Result<Option<BoxHeader>, FilmError> {
        let mut head = Vec::new();
        for len in HEADER_LENS {
            let missing = len - head.len();
            let n = self.file.by_ref().take(missing as u64).read_to_end(&mut head)?;
            self.position += n as u64;
            self.push(head.get(head.len() - n..).unwrap_or_default())?;
            if let Some(header) =
                BoxHeader::parse(&head).map_err(|error| FilmError::Cut(CutError::NotABox(error)))?
            {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Gives the cutter what there is up to this place in the file.
    fn feed(&mut self, end: u64) -> Result<(), FilmError> {
        let mut buffer = vec![0; READ_LEN];
        while self.position < end {
            let len = usize::try_from(end - self.position).map_or(READ_LEN, |len| len.min(READ_LEN));
            let n = self.file.read(&mut buffer[..len])?;
            if n == 0 {
                break;
            }
            self.position += n as u64;
            self.push(&buffer[..n])?;
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), FilmError> {
        self.cutter.push(bytes).map_err(|error| match error {
            // What makes it long are the tables of a file without fragments.
            CutError::TooLong { what: "moov", .. } => FilmError::Cut(CutError::NotFragmented),
            other => FilmError::Cut(other),
        })
    }

    fn take_cuts(&mut self) -> Result<(), FilmError> {
        let mut n_parts = 0;
        while let Some(cut) = self.cutter.poll() {
            match cut {
                Cut::Init(inits) => self.begin(&inits)?,
                Cut::Chunk(chunk) => {
                    self.take_part(chunk, n_parts)?;
                    n_parts += 1;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, inits: &[TrackInit]) -> Result<(), FilmError> {
        if self.maker.is_some() {
            return Err(FilmError::Change);
        }
        let tracks = (0..).zip(inits).map(|(id, init)| init.track(TrackId(id))).collect();
        self.maker = Some(FilmMaker::new(self.epoch, tracks));
        self.places = vec![Vec::new(); inits.len()];
        Ok(())
    }

    /// The part of this number in its fragment, which ends here.
    fn take_part(&mut self, chunk: Chunk, index: usize) -> Result<(), FilmError> {
        let track = chunk.track_index;
        let id = TrackId(u8::try_from(track).unwrap_or(u8::MAX));
        let (Some(maker), Some(places)) = (&mut self.maker, self.places.get_mut(track)) else {
            return Ok(());
        };
        maker.push(&chunk.into_part(id, WallTime(0))).map_err(FilmError::Part)?;
        // Cutting has limits far below both.
        let len = u32::try_from(self.position - self.fragment_at).unwrap_or(u32::MAX);
        places.push((self.fragment_at, len, u16::try_from(index).unwrap_or(u16::MAX)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../media/tests/fixtures");

    fn read(path: &Path) -> Result<FilmFile, FilmError> {
        let key = SigningKey::from_seed([3; 32]);
        FilmFile::read(path, Epoch(7), &key, &CancellationToken::new())
    }

    fn fixture(name: &str) -> Result<FilmFile, FilmError> {
        read(&Path::new(FIXTURES).join(name))
    }

    fn all_parts(file: &FilmFile) -> Vec<PartId> {
        let tracks = (0..).map(TrackId).zip(&file.places);
        let part = |(track, sequence)| PartId { epoch: Epoch(7), track, sequence };
        tracks
            .flat_map(|(track, places)| (0..).zip(places).map(move |(sequence, _)| (track, sequence)))
            .map(part)
            .collect()
    }

    /// What the store of a server peer takes of the film, by its parts.
    fn check_whole(file: &FilmFile) {
        let mut store = Store::new(SigningKey::from_seed([3; 32]).public(), StoreLimits::default());
        store.insert_catalog(&file.film().catalog_bytes).unwrap();
        file.film().pages.iter().for_each(|page| drop(store.insert_index(page).unwrap()));
        for part in all_parts(file) {
            assert!(store.restore(part, &file.part(part).unwrap()), "{part:?}");
        }
    }

    #[test]
    fn every_part_is_read_again_as_it_was_cut_first() {
        for (name, n_parts) in [("cmaf.mp4", 20), ("absolute-offsets.mp4", 8), ("vp9.mp4", 1)] {
            let file = fixture(name).unwrap();
            assert!(all_parts(&file).len() >= n_parts, "{name}: {}", all_parts(&file).len());
            check_whole(&file);
        }
        assert_eq!(fixture("cmaf.mp4").unwrap().duration().as_millis() / 100, 20);
    }

    #[test]
    fn the_same_file_gives_the_same_catalog() {
        let of = |name| fixture(name).unwrap().film().catalog_bytes.clone();
        assert_eq!(of("cmaf.mp4"), of("cmaf.mp4"));
        assert_ne!(of("cmaf.mp4"), of("absolute-offsets.mp4"));
    }

    #[test]
    fn a_film_is_recalled_without_being_read_whole_and_only_if_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        let copy = |name| std::fs::copy(Path::new(FIXTURES).join(name), &path).unwrap();
        copy("cmaf.mp4");
        let file = read(&path).unwrap();
        let recall = |index, seed| FilmFile::recall(&path, index, &SigningKey::from_seed([seed; 32]));
        let again = recall(file.index(), 3).unwrap();
        assert_eq!((again.film(), again.index()), (file.film(), file.index()));
        check_whole(&again);
        assert!(recall(file.index(), 4).is_none(), "another key");
        assert!(recall(FilmIndex { places: Vec::new(), ..file.index() }, 3).is_none());
        assert!(recall(FilmIndex { pages: Vec::new(), ..file.index() }, 3).is_none());
        copy("absolute-offsets.mp4");
        assert!(recall(file.index(), 3).is_none(), "another film");
        copy("progressive.mp4");
        assert!(recall(file.index(), 3).is_none(), "no film");
        std::fs::remove_file(&path).unwrap();
        assert!(recall(file.index(), 3).is_none(), "no file");
    }

    #[test]
    fn what_is_no_film_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let whole = std::fs::read(Path::new(FIXTURES).join("cmaf.mp4")).unwrap();
        let init = std::fs::read(Path::new(FIXTURES).join("hls-init.mp4")).unwrap();
        let cases: [(&[u8], &str); 7] = [
            (b"\0\x10\0\0moov", "not fragmented"),
            (b"", "no tracks"),
            (b"\x1A\x45\xDF\xA3 matroska", "Matroska"),
            (b"moo", "truncated"),
            (&whole[..whole.len() / 2], "truncated"),
            (&init, "1 to 16384 parts"),
            (&[&whole[..], &init].concat(), "change in the middle"),
        ];
        for (bytes, expected) in cases {
            let path = folder.path().join("film.mp4");
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let progressive = fixture("progressive.mp4").unwrap_err().to_string();
        assert!(progressive.contains("not fragmented") && progressive.contains("ffmpeg -i"), "{progressive}");
        assert!(matches!(fixture("nothing.mp4"), Err(FilmError::Unreadable(_))));
    }

    #[test]
    fn a_part_that_is_gone_or_never_was_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        std::fs::copy(Path::new(FIXTURES).join("cmaf.mp4"), &path).unwrap();
        let file = read(&path).unwrap();
        let last = *all_parts(&file).last().unwrap();
        assert!(file.part(PartId { sequence: 1_000, ..last }).is_err());
        assert!(file.part(PartId { track: TrackId(9), ..last }).is_err());
        std::fs::write(&path, "short").unwrap();
        assert!(file.part(last).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(file.part(last).is_err());
    }

    #[test]
    fn reading_ends_when_the_tracker_does() {
        let stop = CancellationToken::new();
        stop.cancel();
        let path = Path::new(FIXTURES).join("cmaf.mp4");
        let outcome = FilmFile::read(&path, Epoch(7), &SigningKey::from_seed([3; 32]), &stop);
        assert!(matches!(outcome, Err(FilmError::Stopped)));
    }

    #[test]
    fn damage_anywhere_is_refused_or_read_and_never_ends_the_tracker() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        let whole = std::fs::read(Path::new(FIXTURES).join("cmaf.mp4")).unwrap();
        let mut n_refused = 0;
        for (place, damage) in (0..whole.len()).step_by(41).zip([0, 1, 0x7F, 0x80, 0xFF].into_iter().cycle())
        {
            let mut bytes = whole.clone();
            bytes[place] = damage;
            std::fs::write(&path, &bytes).unwrap();
            match read(&path) {
                Ok(file) => check_whole(&file),
                Err(_) => n_refused += 1,
            }
        }
        assert!(n_refused > 10, "{n_refused}");
    }
}
