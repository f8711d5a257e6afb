//! What paths and first bytes tell of a pushed body.

/// Whether the path names a playlist or manifest, which nobody needs here.
pub(super) fn is_manifest(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    ["mpd", "m3u8", "m3u", "xml", "txt"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// What files of headers and of media are called before their track's name.
const INIT_ROLE: &str = "init";
const MEDIA_ROLES: [&str; 4] = ["chunk", "segment", "seg", "media"];

/// The name of a source, from the path of a body that brings its header: the path without its extension, and without
/// `init` at the beginning or end of the file's name. `a/init-stream0.m4s` is `a/stream0`, `init.mp4` is `/`.
///
/// A file that is called like media, but brings its header with it, is named as [`media_names`] says.
pub(super) fn init_name(path: &str) -> String {
    let (folder, stem) = split(path);
    if MEDIA_ROLES.iter().any(|role| without_prefix(stem, role).is_some()) {
        return format!("{folder}/{}", media_core(stem));
    }
    let core = without_prefix(stem, INIT_ROLE)
        .or_else(|| stem.strip_suffix(INIT_ROLE).and_then(|rest| rest.strip_suffix(is_separator)))
        .unwrap_or(stem);
    format!("{folder}/{core}")
}

/// The names that the source of a body of media alone may have, likeliest first: without extension, role and number
/// (`a/chunk-stream0-00042.m4s` is `a/stream0`), without all digits at its end (`live7.m4s` is `/live`), or none but
/// the folder's.
pub(super) fn media_names(path: &str) -> Vec<String> {
    let (folder, stem) = split(path);
    let core = media_core(stem);
    let without_digits = core.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(is_separator);
    let mut names: Vec<String> =
        [core, without_digits, ""].iter().map(|core| format!("{folder}/{core}")).collect();
    names.dedup();
    names
}

fn media_core(stem: &str) -> &str {
    let core = MEDIA_ROLES.iter().find_map(|role| without_prefix(stem, role)).unwrap_or(stem);
    match core.rsplit_once(is_separator) {
        Some((front, number)) if is_number(number) => front,
        _ if is_number(core) => "",
        _ => core,
    }
}

/// Folder and file name without extension.
fn split(path: &str) -> (&str, &str) {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    (folder, file.rsplit_once('.').map_or(file, |(stem, _)| stem))
}

/// What follows a role and its separator; `None` when the name does not begin with the role.
fn without_prefix<'a>(stem: &'a str, role: &str) -> Option<&'a str> {
    let rest = stem.strip_prefix(role)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(is_separator) }
}

fn is_separator(c: char) -> bool {
    c == '-' || c == '_'
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a body that begins so brings a header.
pub(super) fn has_init(start: &[u8]) -> bool {
    matches!(start.get(4..8), Some(b"ftyp" | b"moov"))
}

/// Whether a body that begins so brings media without a header.
pub(super) fn is_media(start: &[u8]) -> bool {
    matches!(start.get(4..8), Some(b"styp" | b"moof" | b"sidx" | b"prft" | b"emsg" | b"free" | b"skip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each media file finds the header's source at that place in its list of names.
    fn check(init: &str, media: &[(&str, usize)]) {
        let name = init_name(init);
        for (path, place) in media {
            assert_eq!(
                media_names(path).iter().position(|other| *other == name),
                Some(*place),
                "{path} of {init}"
            );
        }
    }

    #[test]
    fn media_finds_the_header_of_its_track() {
        check("init-stream0.m4s", &[("chunk-stream0-00001.m4s", 0), ("chunk-stream0-99999.m4s", 0)]);
        check("a/b/init_720p.mp4", &[("a/b/segment_720p_7.m4s", 0)]);
        check("init-0.mp4", &[("chunk-0-1.m4s", 0)]);
        check("v/init.mp4", &[("v/chunk-1.m4s", 0), ("v/2.m4s", 0), ("v/live7.m4s", 2)]);
        check("live_init.mp4", &[("live7.m4s", 1), ("live_7.m4s", 0)]);
    }

    #[test]
    fn media_does_not_find_the_header_of_another_track() {
        for (init, media) in [
            ("init-stream0.m4s", "chunk-stream1-00001.m4s"),
            ("init-stream1.m4s", "chunk-stream11-00001.m4s"),
            ("a/init.mp4", "b/chunk-1.m4s"),
            ("initial.mp4", "chunk-1.m4s"),
        ] {
            assert!(!media_names(media).contains(&init_name(init)), "{media} of {init}");
        }
    }

    #[test]
    fn bodies_that_bring_their_header_are_told_apart_by_path() {
        assert_ne!(init_name("Streams(video.cmfv)"), init_name("Streams(audio.cmfa)"));
        assert_ne!(init_name("1"), init_name("2"));
        assert_eq!(init_name("segment-1.mp4"), init_name("segment-2.mp4"));
    }

    #[test]
    fn playlists_and_manifests_are_told_from_media() {
        assert!(["live.mpd", "a/live.M3U8"].into_iter().all(is_manifest));
        assert!(!["init-stream0.m4s", "video", "mpd/chunk.m4s"].into_iter().any(is_manifest));
    }
}
