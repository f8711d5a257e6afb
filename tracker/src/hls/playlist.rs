//! Writes playlists (RFC 8216; low latency: draft-pantos-hls-rfc8216bis-15).

use std::fmt::Write as _;
use std::time::Duration;

use cardume_media::{Track, TrackKind, ticks_to_micros};
use cardume_wire::WallTime;

use super::segments::{BroadcastName, Presentation, Rendition, Segment};

/// A playlist has parts while none is longer: beyond, a player is nearer to live with whole segments.
const LOW_LATENCY_PART_LIMIT: Duration = Duration::from_millis(1_500);
/// Whole segments whose parts are listed too: those a player near the live edge may still want (section 4.4.4.9 allows
/// to leave out what is more than three target durations old).
const SEGMENTS_WITH_PARTS: usize = 3;

/// The multivariant playlist: each video with the group of all audios, or the audios alone.
pub(super) fn multivariant(presentation: &Presentation) -> String {
    let of = |kind| presentation.renditions.iter().filter(move |rendition| rendition.track.kind == kind);
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let has_video = of(TrackKind::Video).next().is_some();
    if !has_video {
        for audio in of(TrackKind::Audio) {
            push_variant(&mut text, audio, None);
        }
        return text;
    }
    for (index, audio) in of(TrackKind::Audio).enumerate() {
        let default = if index == 0 { "YES" } else { "NO" };
        // Writing to a string does not fail; so in all of this file.
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio {}\",DEFAULT={default},AUTOSELECT=YES,URI=\"{}\"",
            index + 1,
            playlist_name(&audio.track),
        );
    }
    let loudest = of(TrackKind::Audio).max_by_key(|audio| audio.told_bitrate());
    for video in of(TrackKind::Video) {
        push_variant(&mut text, video, loudest);
    }
    text
}

fn push_variant(text: &mut String, rendition: &Rendition, audio: Option<&Rendition>) {
    let track = &rendition.track;
    let bandwidth = rendition.told_bitrate() + audio.map_or(0, Rendition::told_bitrate);
    let average =
        [Some(rendition), audio].into_iter().flatten().filter_map(Rendition::average_bitrate).sum::<u64>();
    let audio_codec = audio.map(|audio| format!(",{}", audio.track.codec)).unwrap_or_default();
    let _ = write!(
        text,
        "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average},CODECS=\"{}{audio_codec}\"",
        track.codec
    );
    if track.width > 0 && track.height > 0 {
        let _ = write!(text, ",RESOLUTION={}x{}", track.width, track.height);
    }
    if audio.is_some() {
        text.push_str(",AUDIO=\"audio\"");
    }
    let _ = writeln!(text, "\n{}", playlist_name(track));
}

/// The media playlist of one of the presentation's renditions.
pub(super) fn media(presentation: &Presentation, rendition: &Rendition) -> String {
    let mut text = head(rendition);
    let listed: Vec<&Segment> = rendition.listed().collect();
    let n_without_parts = listed.len().saturating_sub(SEGMENTS_WITH_PARTS);
    let has_parts = |index: usize| is_low_latency(rendition) && index >= n_without_parts;
    let mut broadcast = None;
    for (index, segment) in listed.iter().enumerate() {
        push_start(&mut text, segment, &mut broadcast);
        if has_parts(index) {
            push_parts(&mut text, segment);
        }
        let _ = writeln!(text, "#EXTINF:{},\n{}", seconds(segment.duration_us()), segment_name(segment));
    }
    if is_low_latency(rendition) {
        push_start(&mut text, rendition.open(), &mut broadcast);
        push_parts(&mut text, rendition.open());
        let next = part_name(rendition.open(), rendition.next_sequence());
        let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{next}\"");
    }
    for other in presentation.renditions.iter().filter(|other| other.track.id != rendition.track.id) {
        push_report(&mut text, other);
    }
    text
}

/// Longest a player may have to wait for the next segment: what `EXT-X-TARGETDURATION` says.
pub(super) fn target_duration(rendition: &Rendition) -> u64 {
    // Segments are rounded to the nearest second and must not exceed the target (section 4.4.3.1).
    let longest = rendition.longest_segment();
    longest.as_secs() + u64::from(longest.subsec_nanos() > 0)
}

/// Whether parts are worth to be listed.
pub(super) fn is_low_latency(rendition: &Rendition) -> bool {
    rendition.longest_part() <= LOW_LATENCY_PART_LIMIT
}

fn head(rendition: &Rendition) -> String {
    let first = rendition.listed().next().unwrap_or(rendition.open());
    let mut text =
        format!("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{}\n", target_duration(rendition));
    if is_low_latency(rendition) {
        // In whole milliseconds, upwards: no part may be longer than its target.
        let part_ms = u64::try_from(rendition.longest_part().as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        let (part_target, hold_back) = (seconds(part_ms * 1_000), seconds(part_ms * 3_000));
        let _ = writeln!(text, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={hold_back}");
        let _ = writeln!(text, "#EXT-X-PART-INF:PART-TARGET={part_target}");
    } else {
        text.push_str("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n");
    }
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", first.number);
    let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", first.broadcast.ordinal);
    text
}

/// What stands before a segment: its time, and its header where another broadcast begins.
fn push_start(text: &mut String, segment: &Segment, broadcast: &mut Option<BroadcastName>) {
    let before = broadcast.replace(segment.broadcast);
    if before.is_some_and(|before| before != segment.broadcast) {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if before != Some(segment.broadcast) {
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"{}\"", init_name(segment));
    }
    if let Some(captured_at) = segment.captured_at() {
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(captured_at));
    }
}

fn push_parts(text: &mut String, segment: &Segment) {
    for part in &segment.parts {
        let duration = seconds(ticks_to_micros(part.cut.duration.into(), segment.track.timescale));
        let name = part_name(segment, part.sequence);
        let independent = if part.cut.is_independent { ",INDEPENDENT=YES" } else { "" };
        let _ = writeln!(text, "#EXT-X-PART:DURATION={duration},URI=\"{name}\"{independent}");
    }
}

fn push_report(text: &mut String, rendition: &Rendition) {
    let open = rendition.open();
    let Some(last_part) = open.parts.len().checked_sub(1) else { return };
    let _ = write!(
        text,
        "#EXT-X-RENDITION-REPORT:URI=\"{}\",LAST-MSN={}",
        playlist_name(&rendition.track),
        open.number
    );
    if is_low_latency(rendition) {
        let _ = write!(text, ",LAST-PART={last_part}");
    }
    text.push('\n');
}

fn playlist_name(track: &Track) -> String {
    format!("{}.m3u8", track.id.0)
}

fn folder(segment: &Segment) -> String {
    format!("{}/{}", segment.track.id.0, segment.broadcast.epoch.0)
}

fn init_name(segment: &Segment) -> String {
    format!("{}/init.mp4", folder(segment))
}

fn segment_name(segment: &Segment) -> String {
    format!("{}/segment-{}.m4s", folder(segment), segment.number)
}

fn part_name(segment: &Segment, sequence: u32) -> String {
    format!("{}/part-{sequence}.m4s", folder(segment))
}

/// With five decimals, so that sums stay exact enough (a video tick is 11 µs).
fn seconds(us: u64) -> String {
    format!("{}.{:05}", us / 1_000_000, us % 1_000_000 / 10)
}

/// ISO 8601 in UTC, with milliseconds.
fn date_time(WallTime(us): WallTime) -> String {
    let (day, of_day) = (us / 86_400_000_000, us % 86_400_000_000);
    let (year, month, day) = civil_date(day);
    let ms = of_day / 1_000;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// Year, month and day of a day counted from 1970-01-01, in years that begin in March: then leap days come last.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468; // since 0000-03-01
    let days = days + DAYS_BEFORE_1970;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_iso_8601() {
        let check =
            |seconds: u64, expected| assert_eq!(date_time(WallTime(seconds * 1_000_000 + 42_999)), expected);
        check(0, "1970-01-01T00:00:00.042Z");
        check(951_782_399, "2000-02-28T23:59:59.042Z");
        check(951_782_400, "2000-02-29T00:00:00.042Z");
        check(1_709_251_199, "2024-02-29T23:59:59.042Z");
        check(1_795_326_616, "2026-11-22T05:50:16.042Z");
        check(4_107_542_400, "2100-03-01T00:00:00.042Z");
    }
}
