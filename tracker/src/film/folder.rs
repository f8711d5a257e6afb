//! What of a folder is a film, and what its channel is called.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cardume_wire::ChannelId;

use super::name;
use crate::config::RESERVED_CHANNEL;

/// Films of one tracker at most, as many as channels; each has a task and its index in memory.
const FILM_LIMIT: usize = 1_000;
/// Endings of the names of films. Posters and subtitles lie beside them.
const ENDINGS: [&str; 3] = ["mp4", "m4v", "mov"];
/// Characters of a channel's id at most; see [`ChannelId`].
const ID_LEN_LIMIT: usize = 64;

/// A file that should be a film; nobody has looked into it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its channel: the file's name without its ending, in lower case, what an id cannot have replaced by `-`.
    pub id: ChannelId,
    /// For people: the file's name without its ending.
    pub title: String,
    /// The file.
    pub path: PathBuf,
}

/// The films of a folder, by name; not those of folders in it. What cannot be one because of its name is logged and left
/// out: it gives no id, or one that is `taken`.
///
/// # Errors
/// When the folder cannot be read.
pub fn films_in(folder: &Path, taken: &BTreeSet<ChannelId>) -> std::io::Result<Vec<Found>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| is_film(path));
    paths.sort();
    if paths.len() > FILM_LIMIT {
        tracing::error!(
            "{} has {} films; those after the first {FILM_LIMIT} are not shown",
            folder.display(),
            paths.len()
        );
        paths.truncate(FILM_LIMIT);
    }
    let mut taken = taken.clone();
    Ok(paths.into_iter().filter_map(|path| found(path, &mut taken)).collect())
}

fn is_film(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ENDINGS.contains(&ending.as_str()) && !name(path).starts_with('.') && path.is_file()
}

fn found(path: PathBuf, taken: &mut BTreeSet<ChannelId>) -> Option<Found> {
    let title = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let Some(id) = id_of(&title) else {
        tracing::error!(
            "film {} is not shown: its name has no letter a-z or digit for its address",
            path.display()
        );
        return None;
    };
    if !taken.insert(id.clone()) {
        tracing::error!(
            "film {} is not shown: there is a channel or another film \"{id}\"; rename it",
            path.display()
        );
        return None;
    }
    Some(Found { id, title, path })
}

/// What of a name can stand in an address.
fn id_of(name: &str) -> Option<ChannelId> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut id = words.join("-").to_ascii_lowercase();
    id.truncate(ID_LEN_LIMIT);
    id.trim_matches(['-', '_']).parse().ok().filter(|id: &ChannelId| id.as_str() != RESERVED_CHANNEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expected: &[(&str, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("folder.mp4")).unwrap();
        let taken = BTreeSet::from(["live".parse().unwrap()]);
        let films = films_in(folder.path(), &taken).unwrap();
        let films: Vec<_> = films.iter().map(|film| (film.id.as_str(), film.title.as_str())).collect();
        assert_eq!(films, expected);
    }

    #[test]
    fn films_are_called_by_their_files_in_order() {
        let names = ["Sintel (2010).mp4", "big_buck.M4V", "Ünter-A.mp4", "notes.txt", ".hidden.mp4", "x.mp4"];
        let expected =
            [("sintel-2010", "Sintel (2010)"), ("big_buck", "big_buck"), ("x", "x"), ("nter-a", "Ünter-A")];
        check(&names, &expected);
    }

    #[test]
    fn a_name_that_gives_no_address_or_a_taken_one_is_left_out() {
        check(&["Live.mp4", "a.mp4", "a.m4v", "A .mp4", "映画.mp4", "events.mp4"], &[("a", "A ")]);
    }

    #[test]
    fn a_long_name_gives_a_short_address() {
        let name = format!("{}.mp4", "words ".repeat(20));
        let id = id_of(name.trim_end_matches(".mp4")).unwrap();
        assert!(id.as_str().len() <= ID_LEN_LIMIT && id.as_str().ends_with("words-word"), "{id}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(films_in(Path::new("/does/not/exist"), &BTreeSet::new()).is_err());
    }
}
