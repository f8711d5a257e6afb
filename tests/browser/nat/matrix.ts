/**
 * Which two viewers connect how: two tabs, each in a Chromium of its own behind a NAT of each kind, with the tracker's relay and
 * without. Prints a table; fails when a pair connects in a worse way than it can, or when somebody gets no picture. Then those who
 * have only the relay between them, when the server has little for them. What the relay passes on is the server's egress, too: it
 * fails when media goes that way, as the server could have sent it itself. Before all that, two viewers without a browser.
 */
import type { Browser } from '@playwright/test';
import { budgetOf } from '../src/audience';
import { startSender } from '../src/sender';
import { CHANNEL, Tracker } from '../src/tracker';
import { pause, until } from '../src/until';
import { Viewer } from '../src/viewer';
import { KINDS, type Kind, Lab, SIDES, TRACKER_HOST } from './lab';
import { watchNatively } from './native';
import { type End, endsOf, PATHS, type Path, pathOf } from './path';

/** Copies of the stream that the server may send and relay: enough for two viewers, each of whom it serves alone. */
const BUDGET_COPIES = 4;
/** Just enough for two viewers, each of whom it serves alone: a fifth is kept back for joiners, and key frames are above the mean. */
const BUDGET_COPIES_TIGHT = 2.6;
/** Two homes of two need one copy each when those in a home feed each other, and a fifth is kept back for joiners. */
const BUDGET_COPIES_HOMES = 3;
/** Not enough for two viewers that cannot feed each other: one plays, the other one rests. */
const BUDGET_COPIES_SHORT = 1.6;
/**
 * What the relay may pass on while a row is looked at, in bytes: setting up a connection and what neighbours tell each other (measured:
 * 5 to 40 kB). A copy of the stream has some 100 kB a second.
 */
const RELAYED_LEN_LIMIT = 120_000;
/** Where UDP is blocked a browser first waits for it in vain, for 10 s. */
const PATIENCE_MS = 30_000;
/** For both to have pictures. */
const PICTURE_PATIENCE_MS = 20_000;
/** A path may still change for a better one when it stands. */
const SETTLE_MS = 4_000;
/** Then the picture is watched for so long, and moves if it has so many frames more. */
const WATCH_MS = 2_000;
const FRAMES_PLAYED = 2;

interface Row {
  readonly a: Kind;
  readonly b: Kind;
  readonly path: Path;
  readonly expected: Path;
  readonly ends: readonly (readonly End[])[];
  /** Bytes of media that they got of each other. */
  readonly fromPeersLen: number;
  /** Bytes that the relay passed on. */
  readonly relayedLen: number;
  /** How many have had a picture, and of how many it moves at the end. */
  readonly nWithPicture: number;
  readonly nPlaying: number;
}

/** The best way that there is: symmetric NATs are reached by those who let anybody in. */
function bestPath(a: Kind, b: Kind, hasRelay: boolean): Path {
  const kinds = [a, b];
  if (kinds.includes('blocked')) return hasRelay ? 'relay by TCP' : 'server only';
  if (!kinds.includes('symmetric') || kinds.includes('cone')) return 'direct';
  return hasRelay ? 'relay by UDP' : 'server only';
}

async function look(viewers: readonly Viewer[]): Promise<readonly (readonly End[])[]> {
  return Promise.all(viewers.map(endsOf));
}

async function nFramesOf(viewers: readonly Viewer[]): Promise<number[]> {
  return (await Promise.all(viewers.map((viewer) => viewer.probe()))).map(({ nFrames }) => nFrames);
}

async function measure(
  lab: Lab,
  browsers: readonly Browser[],
  tracker: Tracker,
  kinds: readonly [Kind, Kind],
  { hasRelay, nInEach, wants }: Scene,
): Promise<Row> {
  for (const [index, side] of SIDES.entries()) lab.setRouter(side, kinds[index] ?? 'cone');
  const address = `${tracker.origin}/embed/${CHANNEL}`;
  const relayedBefore = await tracker.relayedLen();
  const viewers: Viewer[] = [];
  try {
    for (const browser of Array.from({ length: nInEach }, () => browsers).flat())
      viewers.push(await Viewer.open(browser, address, { doubles: ['connections'] }));
    const [a, b] = kinds;
    const expected = bestPath(a, b, hasRelay);
    const isEnough = async (): Promise<boolean> =>
      PATHS.indexOf(pathOf(await look(viewers))) <= PATHS.indexOf(expected);
    await until('a path', isEnough, PATIENCE_MS).catch(() => undefined);
    const nWanted = wants === 'all play' ? viewers.length : 1;
    const play = async (): Promise<boolean> =>
      (await nFramesOf(viewers)).filter((nFrames) => nFrames > FRAMES_PLAYED).length >= nWanted;
    await until('pictures', play, PICTURE_PATIENCE_MS).catch(() => undefined);
    await pause(SETTLE_MS);
    const before = await nFramesOf(viewers);
    await pause(WATCH_MS);
    const after = await nFramesOf(viewers);
    const ends = await look(viewers);
    const stats = await Promise.all(viewers.map((viewer) => viewer.stats()));
    return {
      ...{ a, b, expected, ends, path: pathOf(ends) },
      fromPeersLen: stats.reduce((sum, one) => sum + (one?.fromPeersLen ?? 0), 0),
      relayedLen: (await tracker.relayedLen()) - relayedBefore,
      nWithPicture: after.filter((nFrames) => nFrames > 0).length,
      nPlaying: after.filter((nFrames, index) => nFrames > (before[index] ?? 0) + FRAMES_PLAYED).length,
    };
  } finally {
    await Promise.all(viewers.map((viewer) => viewer.close()));
  }
}

interface Scene {
  readonly title: string;
  readonly hasRelay: boolean;
  readonly nCopies: number;
  /** Viewers in each home. */
  readonly nInEach: number;
  readonly wants: 'all play' | 'one plays';
  readonly pairs: readonly (readonly [Kind, Kind])[];
}

async function play(lab: Lab, scene: Scene): Promise<Row[]> {
  const { title, hasRelay, nCopies, pairs } = scene;
  print(`\n${title}, ${nCopies} copies`);
  print(HEAD);
  const tracker = await Tracker.start({
    egress: budgetOf(nCopies),
    host: TRACKER_HOST,
    under: lab.onTheInternet,
    more: `stun = "${TRACKER_HOST}:3478"\nrelay = ${hasRelay}\n`,
  });
  const sender = startSender(tracker, 'rtmp');
  const browsers: Browser[] = [];
  try {
    await tracker.untilLive(true);
    for (const side of SIDES) browsers.push(await lab.browse(side, tracker.origin));
    const rows: Row[] = [];
    for (const pair of pairs) {
      const row = await measure(lab, browsers, tracker, pair, scene);
      print(lineOf(row));
      rows.push(row);
    }
    return rows;
  } finally {
    await Promise.all(browsers.map((browser) => browser.close()));
    await sender.stop();
    await tracker.stop();
  }
}

const COLUMNS = [10, 10, 12, 27, 11, 9] as const;

const rowOf = (cells: readonly string[]): string =>
  cells.map((cell, index) => cell.padEnd(COLUMNS[index] ?? 0)).join('  ');

const HEAD = rowOf(['one', 'other', 'path', 'candidates at each end', 'from peers', 'relayed', 'picture']);

function lineOf({
  a,
  b,
  path,
  expected,
  ends,
  fromPeersLen,
  relayedLen,
  nWithPicture,
  nPlaying,
}: Row): string {
  const kinds = ends.map((ofOne) => {
    const first = ofOne.map(({ local, remote }) => `${local}>${remote}`);
    return [...new Set(first)].sort().join('+') || 'none';
  });
  const verdict = path === expected ? '' : `, expected: ${expected}`;
  const picture =
    nPlaying === ends.length ? 'plays' : `${nPlaying} of ${ends.length} play, ${nWithPicture} have one`;
  const kilobytes = [fromPeersLen, relayedLen].map((len) => `${Math.round(len / 1000)} kB`);
  return rowOf([a, b, path, [...new Set(kinds)].join(' '), ...kilobytes, picture + verdict]);
}

/** What is wrong with the rows, one line each. */
function faultsOf(rows: readonly Row[], { title, wants }: Scene): string[] {
  return rows.flatMap(({ a, b, path, expected, ends, nPlaying, nWithPicture, relayedLen }) => {
    const nWanted = wants === 'all play' ? ends.length : 1;
    const faults = [
      ...(PATHS.indexOf(path) > PATHS.indexOf(expected) ? [`${path} and not ${expected}`] : []),
      ...(wants === 'all play' && nWithPicture < ends.length ? ['somebody has no picture'] : []),
      ...(nPlaying < nWanted ? [`the picture moves for ${nPlaying} and not ${nWanted}`] : []),
      ...(relayedLen > RELAYED_LEN_LIMIT ? ['media came over the relay'] : []),
    ];
    return faults.map((fault) => `${title}: ${a} and ${b}: ${fault}`);
  });
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

const everyPair = KINDS.flatMap((a, index) => KINDS.slice(index).map((b) => [a, b] as const));
const relayedPairs = [['symmetric', 'symmetric'] as const, ['blocked', 'blocked'] as const];
const ALONE = { nInEach: 1, wants: 'all play' } as const;
const SCENES: readonly Scene[] = [
  { title: 'with the relay', hasRelay: true, nCopies: BUDGET_COPIES, ...ALONE, pairs: everyPair },
  {
    ...{ title: 'just enough for each', hasRelay: true, nCopies: BUDGET_COPIES_TIGHT, ...ALONE },
    pairs: relayedPairs,
  },
  {
    ...{ title: 'two in each home', hasRelay: true, nCopies: BUDGET_COPIES_HOMES },
    ...{ nInEach: 2, wants: 'all play', pairs: relayedPairs },
  },
  {
    ...{ title: 'less than a copy for each', hasRelay: true, nCopies: BUDGET_COPIES_SHORT },
    ...{ nInEach: 1, wants: 'one plays', pairs: relayedPairs },
  },
  { title: 'without the relay', hasRelay: false, nCopies: BUDGET_COPIES, ...ALONE, pairs: everyPair },
];

const lab = new Lab();
const faults: string[] = [];
try {
  print(`native viewers behind symmetric NATs: ${await watchNatively(lab)}`);
  for (const scene of SCENES) faults.push(...faultsOf(await play(lab, scene), scene));
} finally {
  lab.remove();
}
for (const fault of faults) print(`WORSE  ${fault}`);
if (faults.length > 0) process.exitCode = 1;
