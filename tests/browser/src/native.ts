import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Child } from './process';
import { CHANNEL, type Tracker } from './tracker';
import { until } from './until';

/** What `cardume watch --json` prints of a viewer, as far as tests read it; in the words of the tab's statistics. */
export interface NativeStats {
  readonly state: string;
  readonly serverLinked: boolean;
  readonly peerId: string;
  readonly fromPeersLen: number;
  readonly sentLen: number;
  readonly wrongBlocks: number;
  readonly neighbours: readonly {
    readonly peerId: string;
    readonly receivedLen: number;
    readonly sentLen: number;
  }[];
}

/** `cardume watch`: a viewer without a browser. */
export class NativeViewer {
  readonly #child: Child;

  /** Of this tracker; `under` is a command that it is started under, such as one that puts it into another network. */
  constructor(tracker: Tracker, under: readonly string[] = []) {
    const [first = program(), ...rest] = [...under, program(), 'watch', page(tracker), '--json'];
    this.#child = new Child('cardume watch', first, rest);
  }

  get output(): string {
    return this.#child.output;
  }

  /** The newest, at most a second old; `undefined` before the first. */
  get stats(): NativeStats | undefined {
    const lines = this.#child.output.split('\n').slice(0, -1);
    const newest = lines.reverse().find((line) => line.startsWith('{'));
    return newest === undefined ? undefined : (JSON.parse(newest) as NativeStats);
  }

  async untilStats<T>(what: string, look: (stats: NativeStats) => T | undefined | false): Promise<T> {
    return until(what, () => {
      if (!this.#child.isRunning) throw new Error(`it ended\n${this.#child.output}`);
      return this.stats && look(this.stats);
    });
  }

  /** Has it leave. */
  stop(): Promise<void> {
    return this.#child.stop('SIGINT');
  }
}

/** Has a native viewer write the stream for this long, and gives what ffmpeg finds in it. */
export async function recordNatively(
  tracker: Tracker,
  time: string,
): Promise<{ codecs: string[]; nFrames: number }> {
  const directory = await mkdtemp(join(tmpdir(), 'cardume-movie-'));
  const movie = join(directory, 'movie.mp4');
  const viewer = new Child('cardume watch', program(), [
    'watch',
    page(tracker),
    '--for',
    time,
    '--output',
    movie,
  ]);
  const code = await viewer.exited;
  if (code !== 0) throw new Error(`cardume watch ended with ${code}\n${viewer.output}`);
  const ffmpeg = process.env.FFMPEG ?? 'ffmpeg';
  const decoder = new Child('ffmpeg', ffmpeg, ['-hide_banner', '-i', movie, '-map', '0', '-f', 'null', '-']);
  const decoded = await decoder.exited;
  await rm(directory, { recursive: true, force: true });
  if (decoded !== 0) throw new Error(`ffmpeg cannot decode the stream\n${decoder.output}`);
  const [input = ''] = decoder.output.split('Output #0');
  const codecs = [...input.matchAll(/Stream #0:\d.*?: (?:Video|Audio): (\w+)/g)].map(
    ([, codec = '']) => codec,
  );
  const frames = [...decoder.output.matchAll(/frame=\s*(\d+)/g)].at(-1)?.[1];
  return { codecs, nFrames: Number(frames ?? 0) };
}

const program = (): string => process.env.CARDUME_BIN ?? resolve('../../target/release/cardume');

const page = (tracker: Tracker): string => `${tracker.origin}/watch/${CHANNEL}`;
