import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from './process';

const WIDTH = 640;
const HEIGHT = 360;
const FRAMES_PER_SECOND = 30;

/** A folder with one film in it, made as the operator's manual says; gives the folder. */
export async function makeFilm(fileName: string, seconds: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cardume-films-'));
  const ffmpeg = new Child('ffmpeg film', process.env.FFMPEG ?? 'ffmpeg', [
    ...['-hide_banner', '-loglevel', 'warning', '-nostats'],
    ...['-f', 'lavfi', '-i', `testsrc2=size=${WIDTH}x${HEIGHT}:rate=${FRAMES_PER_SECOND}`],
    ...['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000', '-t', `${seconds}`],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-b:v', '800k'],
    ...['-g', `${2 * FRAMES_PER_SECOND}`, '-c:a', 'aac', '-b:a', '96k'],
    ...['-movflags', '+cmaf+frag_keyframe+empty_moov+default_base_moof', '-frag_duration', '2000000'],
    join(folder, fileName),
  ]);
  const code = await ffmpeg.exited;
  if (code !== 0) throw new Error(`no film was made\n${ffmpeg.output}`);
  return folder;
}
