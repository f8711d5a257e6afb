/**
 * Which two viewers connect how: two tabs, each in a Chromium of its own behind a NAT of each kind, with the tracker's relay and
 * without. Prints a table; fails when a pair connects in a worse way than it can, or when somebody gets no picture. Then two pairs
 * that have only the relay, when the server has too little for them; fails when no media comes through it.
 */
import type { Browser } from '@playwright/test';
import { budgetOf } from '../src/audience';
import { startSender } from '../src/sender';
import { CHANNEL, Tracker } from '../src/tracker';
import { pause, until } from '../src/until';
import { Viewer } from '../src/viewer';
import { KINDS, type Kind, Lab, SIDES, TRACKER_HOST } from './lab';
import { type End, endOf, PATHS, type Path, pathOf } from './path';

/** Copies of the stream that the server may send and relay: half of it is enough for two viewers, as the relay may have the other. */
const BUDGET_COPIES = 4;
/** And too few for them, so that they need each other: enough to see that media comes through the relay. */
const BUDGET_COPIES_SHORT = 1.6;
/** Where UDP is blocked a browser first waits for it in vain, for 10 s. */
const PATIENCE_MS = 30_000;
/** For both to have pictures. */
const PICTURE_PATIENCE_MS = 20_000;
/** A path may still change for a better one when it stands. */
const SETTLE_MS = 4_000;

interface Row {
  readonly a: Kind;
  readonly b: Kind;
  readonly path: Path;
  readonly expected: Path;
  readonly ends: readonly (End | undefined)[];
  /** Bytes of media that either got of the other. */
  readonly fromPeersLen: number;
  readonly isPlaying: boolean;
}

/** The best way that there is: symmetric NATs are reached by those who let anybody in. */
function bestPath(a: Kind, b: Kind, hasRelay: boolean): Path {
  const kinds = [a, b];
  if (kinds.includes('blocked')) return hasRelay ? 'relay by TCP' : 'server only';
  if (!kinds.includes('symmetric') || kinds.includes('cone')) return 'direct';
  return hasRelay ? 'relay by UDP' : 'server only';
}

async function look(viewers: readonly Viewer[]): Promise<readonly (End | undefined)[]> {
  return Promise.all(viewers.map(endOf));
}

async function measure(
  lab: Lab,
  browsers: readonly Browser[],
  tracker: Tracker,
  kinds: readonly [Kind, Kind],
  hasRelay: boolean,
): Promise<Row> {
  for (const [index, side] of SIDES.entries()) lab.setRouter(side, kinds[index] ?? 'cone');
  const address = `${tracker.origin}/embed/${CHANNEL}`;
  const viewers: Viewer[] = [];
  try {
    for (const browser of browsers)
      viewers.push(await Viewer.open(browser, address, { doubles: ['connections'] }));
    const [a, b] = kinds;
    const expected = bestPath(a, b, hasRelay);
    const isEnough = async (): Promise<boolean> =>
      PATHS.indexOf(pathOf(await look(viewers))) <= PATHS.indexOf(expected);
    await until('a path', isEnough, PATIENCE_MS).catch(() => undefined);
    const hasPictures = async (): Promise<boolean> =>
      (await Promise.all(viewers.map((viewer) => viewer.probe()))).every(({ nFrames }) => nFrames > 2);
    await until('pictures', hasPictures, PICTURE_PATIENCE_MS).catch(() => undefined);
    await pause(SETTLE_MS);
    const ends = await look(viewers);
    const stats = await Promise.all(viewers.map((viewer) => viewer.stats()));
    const probes = await Promise.all(viewers.map((viewer) => viewer.probe()));
    return {
      ...{ a, b, expected, ends, path: pathOf(ends) },
      fromPeersLen: stats.reduce((sum, one) => sum + (one?.fromPeersLen ?? 0), 0),
      isPlaying: probes.every(({ nFrames }) => nFrames > 0),
    };
  } finally {
    await Promise.all(viewers.map((viewer) => viewer.close()));
  }
}

interface Scene {
  readonly title: string;
  readonly hasRelay: boolean;
  readonly nCopies: number;
  readonly pairs: readonly (readonly [Kind, Kind])[];
}

async function play(lab: Lab, { title, hasRelay, nCopies, pairs }: Scene): Promise<Row[]> {
  print(`\n${title}: the two NATs, the path, candidates at each end, media from each other`);
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
      const row = await measure(lab, browsers, tracker, pair, hasRelay);
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

function lineOf({ a, b, path, expected, ends, fromPeersLen, isPlaying }: Row): string {
  const kinds = ends.map((end) => (end ? `${end.local}>${end.remote}` : 'none')).join(' ');
  const verdict = path === expected ? '' : `  expected: ${expected}`;
  const cells = [a.padEnd(10), b.padEnd(10), path.padEnd(12), kinds.padEnd(26)];
  const kilobytes = `${Math.round(fromPeersLen / 1000)} kB`.padStart(8);
  return `${cells.join('  ')}${kilobytes}  ${isPlaying ? 'plays' : 'NO PICTURE'}${verdict}`;
}

/** What is wrong with the rows, one line each. */
function faultsOf(rows: readonly Row[], { title, nCopies }: Scene): string[] {
  return rows.flatMap(({ a, b, path, expected, isPlaying, fromPeersLen }) => {
    const isShort = nCopies === BUDGET_COPIES_SHORT;
    const faults = [
      ...(PATHS.indexOf(path) > PATHS.indexOf(expected) ? [`${path} and not ${expected}`] : []),
      ...(isShort || isPlaying ? [] : ['somebody has no picture']),
      ...(!isShort || fromPeersLen > 0 ? [] : ['no media from each other']),
    ];
    return faults.map((fault) => `${title}: ${a} and ${b}: ${fault}`);
  });
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

const everyPair = KINDS.flatMap((a, index) => KINDS.slice(index).map((b) => [a, b] as const));
const relayedPairs = [['symmetric', 'symmetric'] as const, ['blocked', 'blocked'] as const];
const SCENES: readonly Scene[] = [
  { title: 'with the relay', hasRelay: true, nCopies: BUDGET_COPIES, pairs: everyPair },
  {
    title: 'with the relay, short of egress',
    hasRelay: true,
    nCopies: BUDGET_COPIES_SHORT,
    pairs: relayedPairs,
  },
  { title: 'without the relay', hasRelay: false, nCopies: BUDGET_COPIES, pairs: everyPair },
];

const lab = new Lab();
const faults: string[] = [];
try {
  for (const scene of SCENES) faults.push(...faultsOf(await play(lab, scene), scene));
} finally {
  lab.remove();
}
for (const fault of faults) print(`WORSE  ${fault}`);
if (faults.length > 0) process.exitCode = 1;
