/**
 * Which two viewers connect how: two tabs, each in a Chromium of its own behind a NAT of each kind, with the tracker's relay and
 * without. Prints a table; fails when a pair connects in a worse way than it can, when somebody gets no picture, or when no media
 * comes through the relay.
 */
import type { Browser } from '@playwright/test';
import { budgetOf } from '../src/audience';
import { startSender } from '../src/sender';
import { CHANNEL, Tracker } from '../src/tracker';
import { pause, until } from '../src/until';
import { Viewer } from '../src/viewer';
import { KINDS, type Kind, Lab, SIDES, TRACKER_HOST } from './lab';
import { type End, endOf, PATHS, type Path, pathOf } from './path';

/** Copies of the stream that the server may send and relay: hardly enough for two viewers, so that they need each other. */
const BUDGET_COPIES = 2;
/** Without a relay, those whom nobody reaches have the server alone. */
const BUDGET_COPIES_ALONE = 2.6;
/** Where UDP is blocked a browser first waits for it in vain, for 10 s. */
const PATIENCE_MS = 30_000;
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
    await until('pictures', hasPictures, PATIENCE_MS).catch(() => undefined);
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

async function matrix(lab: Lab, hasRelay: boolean): Promise<Row[]> {
  const tracker = await Tracker.start({
    egress: budgetOf(hasRelay ? BUDGET_COPIES : BUDGET_COPIES_ALONE),
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
    for (const [index, a] of KINDS.entries()) {
      for (const b of KINDS.slice(index)) {
        const row = await measure(lab, browsers, tracker, [a, b], hasRelay);
        print(lineOf(row));
        rows.push(row);
      }
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
function faultsOf(rows: readonly Row[], hasRelay: boolean): string[] {
  const name = ({ a, b }: Row): string => `${a} and ${b}, ${hasRelay ? 'with' : 'without'} the relay`;
  const worse = rows.filter(({ path, expected }) => PATHS.indexOf(path) > PATHS.indexOf(expected));
  const dark = rows.filter(({ isPlaying }) => !isPlaying);
  const faults = [
    ...worse.map((row) => `${name(row)}: ${row.path} and not ${row.expected}`),
    ...dark.map((row) => `${name(row)}: somebody has no picture`),
  ];
  for (const path of ['relay by UDP', 'relay by TCP'] as const) {
    const isShown = rows.some((row) => row.path === path && row.fromPeersLen > 0);
    if (hasRelay && !isShown) faults.push(`no media came by ${path}`);
  }
  return faults;
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

const lab = new Lab();
const faults: string[] = [];
try {
  for (const hasRelay of [true, false]) {
    print(
      `\n${hasRelay ? 'with' : 'without'} the relay: the two NATs, the path, candidates at each end, media from each other`,
    );
    faults.push(...faultsOf(await matrix(lab, hasRelay), hasRelay));
  }
} finally {
  lab.remove();
}
for (const fault of faults) print(`WORSE  ${fault}`);
if (faults.length > 0) process.exitCode = 1;
