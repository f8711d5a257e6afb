import { clockFilter, FRAMES_PER_SECOND, HEIGHT, WIDTH } from './clock-picture';
import { Child } from './process';
import type { Tracker } from './tracker';

/** Bits per second of the video and the audio that senders send. */
const VIDEO_RATE = 700_000;
const AUDIO_RATE = 64_000;

/**
 * What one viewer's copy costs the server at most: video, audio, and a tenth for containers, descriptors and
 * the encoder's peaks (measured: 3 to 6 percent).
 */
export const COPY_BITS_PER_SECOND = Math.round((VIDEO_RATE + AUDIO_RATE) * 1.1);

const FRAGMENT_S = 0.2;

/** Of the lower one of two renditions. */
const LOW_RATE = 200_000;
export const LOW_HEIGHT = HEIGHT / 2;

/** The ways in that tests use; `ladder` is DASH with two renditions of the picture. */
export type SenderKind = 'rtmp' | 'dash' | 'hls' | 'ladder';

/** An ffmpeg that sends a moving picture with the wall clock in it, and a tone. */
export function startSender(tracker: Tracker, kind: SenderKind): Child {
  const program = process.env.FFMPEG ?? 'ffmpeg';
  const pictures = kind === 'ladder' ? LADDER : PICTURE;
  return new Child(`ffmpeg ${kind}`, program, [...sourceArgs(pictures), ...OUTPUTS[kind](tracker)]);
}

/** The filter graph after the clock, and the pictures that come out of it. */
type Pictures = readonly [graph: string, ...args: string[]];

const PICTURE: Pictures = [
  '',
  ...['-map', '[v]', '-b:v', `${VIDEO_RATE}`, '-maxrate', `${VIDEO_RATE}`, '-bufsize', `${VIDEO_RATE / 2}`],
];

const LADDER: Pictures = [
  `;[v]split[high][copy2];[copy2]scale=-2:${LOW_HEIGHT}[low]`,
  ...['-map', '[high]', '-map', '[low]', '-b:v:0', `${VIDEO_RATE}`, '-b:v:1', `${LOW_RATE}`],
];

function sourceArgs([graph, ...pictures]: Pictures): string[] {
  const picture = `testsrc2=size=${WIDTH}x${HEIGHT}:rate=${FRAMES_PER_SECOND}`;
  return [
    ...['-hide_banner', '-loglevel', 'warning', '-nostats'],
    ...['-re', '-f', 'lavfi', '-i', picture],
    ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'],
    ...['-filter_complex', `${clockFilter()}${graph}`, ...pictures, '-map', '1:a'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline'],
    ...['-g', `${FRAMES_PER_SECOND}`, '-sc_threshold', '0'],
    ...['-c:a', 'aac', '-b:a', `${AUDIO_RATE}`, '-ac', '2'],
  ];
}

const dashArgs = (tracker: Tracker): string[] => [
  ...['-f', 'dash', '-streaming', '1', '-ldash', '1', '-seg_duration', '1', '-frag_type', 'duration'],
  ...['-frag_duration', `${FRAGMENT_S}`, '-use_template', '1', '-use_timeline', '0', '-write_prft', '1'],
  ...['-remove_at_exit', '0', '-window_size', '5', '-method', 'PUT', '-http_persistent', '1'],
  `${tracker.pushUrl}/manifest.mpd`,
];

const OUTPUTS: Record<SenderKind, (tracker: Tracker) => string[]> = {
  rtmp: (tracker) => ['-f', 'flv', '-flvflags', 'no_duration_filesize', tracker.rtmpUrl],
  dash: dashArgs,
  ladder: dashArgs,
  hls: (tracker) => [
    ...['-f', 'hls', '-hls_segment_type', 'fmp4', '-hls_time', '1', '-hls_list_size', '5'],
    ...['-method', 'PUT', `${tracker.pushUrl}/index.m3u8`],
  ],
};
