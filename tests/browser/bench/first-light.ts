/**
 * Six viewers of one live channel: Cardume with a budget of three copies at the server, and plain hls.js on the
 * same channel's low-latency HLS. Prints a table; with `--json` also one last line of JSON.
 *
 * What the columns mean: start-up is from opening the page to the first picture; latency is read off the picture;
 * server copies are bytes that left the server, in units of what one viewer needs; CPU is of all the browser's
 * processes together.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import type { Browser } from '@playwright/test';
import { ARRIVAL_INTERVAL_MS, AUDIENCE, BUDGET, untilRunning } from '../src/audience';
import { MeasuredBrowser } from '../src/browser-process';
import { hlsPage } from '../src/hls-page';
import { LIVE, quantile, SETTLE_MS } from '../src/judge';
import { startSender } from '../src/sender';
import { StaticSite } from '../src/static-site';
import { CHANNEL, Tracker } from '../src/tracker';
import { pause } from '../src/until';
import { Viewer } from '../src/viewer';

/** How long each player is measured, after its viewers have settled. */
const MEASURE_MS = Number(process.env.BENCH_MEASURE_MS ?? 30_000);
/** "Joining in under a second." */
const STARTUP_GOAL_MS = 1_000;

interface Row {
  readonly player: string;
  readonly startup_p50_ms: number;
  readonly startup_max_ms: number;
  readonly latency_p50_ms: number;
  readonly latency_max_ms: number;
  readonly longest_gap_ms: number;
  readonly server_copies: number;
  readonly share_from_peers: number;
  readonly cpu_s_per_viewer_minute: number;
}

/** What left the server so far, and what one viewer got, in bytes of media. */
interface Meter {
  serverLen(): Promise<number>;
  peersLen(): Promise<number>;
  receivedLen(): Promise<number>;
}

async function arriveAt(browser: Browser, address: string): Promise<Viewer[]> {
  const viewers: Viewer[] = [];
  for (let i = 0; i < AUDIENCE; i += 1) {
    if (i > 0) await pause(ARRIVAL_INTERVAL_MS);
    viewers.push(await Viewer.open(browser, address));
  }
  return viewers;
}

async function measure(
  player: string,
  address: string,
  meterOf: (viewers: readonly Viewer[]) => Meter,
): Promise<Row> {
  const measured = await MeasuredBrowser.launch();
  try {
    const viewers = await arriveAt(measured.browser, address);
    const startups = await Promise.all(viewers.map((viewer) => viewer.untilPlaying()));
    await pause(SETTLE_MS);
    const meter = meterOf(viewers);
    const read = async () =>
      [await meter.serverLen(), await meter.peersLen(), await meter.receivedLen()] as const;
    const [before, cpuBefore, beganAt] = [await read(), measured.cpuSeconds(), Date.now()];
    await pause(MEASURE_MS);
    const [after, cpuAfter, endedAt] = [await read(), measured.cpuSeconds(), Date.now()];
    const [server, peers, received] = after.map((len, index) => len - (before[index] ?? 0));
    const probes = await Promise.all(viewers.map((viewer) => viewer.probe()));
    const latencies = probes.flatMap(({ latenciesMs }) =>
      latenciesMs.filter(({ at }) => at >= beganAt).map(({ ms }) => ms),
    );
    const gaps = probes.flatMap((probe) => probe.gaps.filter(({ at }) => at >= beganAt).map(({ ms }) => ms));
    return {
      player,
      startup_p50_ms: quantile(startups, 0.5),
      startup_max_ms: quantile(startups, 1),
      latency_p50_ms: quantile(latencies, 0.5),
      latency_max_ms: quantile(latencies, 1),
      longest_gap_ms: Math.round(Math.max(0, ...gaps)),
      server_copies: rounded(((server ?? 0) * AUDIENCE) / (received ?? 0)),
      share_from_peers: rounded((peers ?? 0) / (received ?? 0)),
      cpu_s_per_viewer_minute: rounded((cpuAfter - cpuBefore) / AUDIENCE / ((endedAt - beganAt) / 60_000)),
    };
  } finally {
    await measured.close();
  }
}

function cardumeMeter(tracker: Tracker): (viewers: readonly Viewer[]) => Meter {
  return (viewers) => {
    const total = async (field: 'fromPeersLen' | 'fromServerLen'): Promise<number> => {
      const all = await Promise.all(viewers.map((viewer) => viewer.stats()));
      return all.reduce((sum, stats) => sum + (stats?.[field] ?? 0), 0);
    };
    return {
      serverLen: async () => (await tracker.stats()).egress.total_len,
      peersLen: () => total('fromPeersLen'),
      receivedLen: async () => (await total('fromPeersLen')) + (await total('fromServerLen')),
    };
  };
}

/** hls.js has one source: what its viewers load is what left the server. */
function hlsMeter(viewers: readonly Viewer[]): Meter {
  let len = 0;
  for (const { page } of viewers) {
    page.on('requestfinished', (request) => {
      void request.sizes().then(
        ({ responseBodySize }) => (len += responseBodySize),
        () => undefined,
      );
    });
  }
  return {
    serverLen: () => Promise.resolve(len),
    peersLen: () => Promise.resolve(0),
    receivedLen: () => Promise.resolve(len),
  };
}

async function run(): Promise<{ rows: Row[]; budgetUse: number }> {
  const tracker = await Tracker.start({ egress: BUDGET });
  const sender = startSender(tracker, 'rtmp');
  const hlsJs = readFileSync(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js'), 'utf8');
  const site = await StaticSite.serve(hlsPage(hlsJs, `${tracker.origin}/hls/${CHANNEL}/index.m3u8`));
  try {
    await untilRunning(tracker);
    const cardume = await measure('cardume', `${tracker.origin}/embed/${CHANNEL}`, cardumeMeter(tracker));
    const { egress, budget_bits_per_second: budget } = await tracker.stats();
    const hls = await measure('hls.js', site.origin, hlsMeter);
    return { rows: [cardume, hls], budgetUse: rounded(egress.max_bits_per_second / (budget ?? 0)) };
  } finally {
    await site.stop();
    await sender.stop();
    await tracker.stop();
  }
}

function goalsOf(
  rows: readonly Row[],
  budgetUse: number,
): { name: string; value: number; target: number; ok: boolean }[] {
  const [cardume, hls] = rows;
  if (!cardume || !hls) return [];
  const atMost = (name: string, value: number, target: number) => ({
    name,
    value,
    target,
    ok: value <= target,
  });
  return [
    atMost('latency_max_ms', cardume.latency_max_ms, LIVE.latencyLimitMs),
    atMost('longest_gap_ms', cardume.longest_gap_ms, LIVE.stallLimitMs),
    atMost('busiest_second_of_budget', budgetUse, 1),
    atMost('startup_p50_ms', cardume.startup_p50_ms, STARTUP_GOAL_MS),
    atMost('server_copies_to_hls', rounded(cardume.server_copies / hls.server_copies), 0.6),
  ];
}

const rounded = (value: number): number => Math.round(value * 100) / 100;

const startedAt = new Date().toISOString();
const { rows, budgetUse } = await run();
const goals = goalsOf(rows, budgetUse);
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const columns = Object.keys(rows[0] ?? {}) as (keyof Row)[];
print(columns.join('  '));
for (const row of rows)
  print(columns.map((column) => String(row[column]).padStart(column.length)).join('  '));
for (const { name, value, target, ok } of goals)
  print(`${ok ? 'reached' : 'MISSED '}  ${name}: ${value}, at most ${target}`);
if (process.argv.includes('--json')) {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`;
  const times = { started_at: startedAt, ended_at: new Date().toISOString(), measured_ms: MEASURE_MS };
  print(JSON.stringify({ bench: 'first-light', rows, goals, run: { seed: null, times, machine } }));
}
