import type { Page } from '@playwright/test';
import { build } from 'esbuild';
import { expect, test, type World } from '../src/fixture';
import { StaticSite } from '../src/static-site';
import { CHANNEL, type Tracker } from '../src/tracker';
import { until } from '../src/until';

/** What the pages below note. */
interface Noted {
  connections: number;
  messages: string[];
  warnings: string[];
  updates: { complete: number; incomplete: number }[];
  scraped: { complete: number; incomplete: number } | null;
  bytes: { http: number; p2p: number };
  fatal: string | null;
}

declare global {
  interface Window {
    noted: Noted;
    client: { scrape(): void; complete(): void; destroy(): void };
  }
}

const NOTED = `window.noted = { connections: 0, messages: [], warnings: [], updates: [], scraped: null,
  bytes: { http: 0, p2p: 0 }, fatal: null };`;

/** A script that any page can include, from one that imports packages. */
async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    format: 'iife',
    // What bundlers for browsers stand in for.
    define: { global: 'globalThis' },
    banner: { js: 'window.process ??= { browser: true, env: {}, nextTick: queueMicrotask };' },
  });
  return outputFiles.map(({ text }) => text).join('');
}

function clientPage(announceUrl: string): string {
  return `<!doctype html><html lang="en"><title>bittorrent-tracker</title><script>${NOTED}</script>
<script src="/client.js"></script>
<script>
  const name = Math.random().toString(16).slice(2).padEnd(20, '0').slice(0, 20);
  const client = new TrackerClient({ infoHash: '0080ff225c'.repeat(4), peerId: [...name].map((c) => c.charCodeAt(0).toString(16)).join(''),
    announce: [${JSON.stringify(announceUrl)}], rtcConfig: {} });
  for (const trouble of ['error', 'warning']) client.on(trouble, (error) => noted.warnings.push(error.message));
  client.on('update', ({ complete, incomplete }) => noted.updates.push({ complete, incomplete }));
  client.on('scrape', ({ complete, incomplete }) => { noted.scraped = { complete, incomplete }; });
  client.on('peer', (peer) => {
    peer.on('connect', () => { noted.connections += 1; peer.send('hello from ' + name); });
    peer.on('data', (data) => noted.messages.push(new TextDecoder().decode(data)));
  });
  client.start();
  window.client = client;
</script>`;
}

test('unmodified bittorrent-tracker clients meet in two tabs @ci', async ({ world }) => {
  const tracker = await world.tracker({ isWebTorrent: true });
  const client = await bundle(
    `import Client from 'bittorrent-tracker/client'; window.TrackerClient = Client;`,
  );
  const site = await StaticSite.serve(clientPage(tracker.announceUrl), { '/client.js': client });
  world.atEnd(() => site.stop());
  const [a, b] = [await openPage(world, site), await openPage(world, site)];
  for (const page of [a, b]) {
    await until('the tabs exchange a message', async () => (await noted(page)).messages.length > 0);
  }
  await b.evaluate(() => window.client.complete());
  await until('the tracker counts a seeder', async () => {
    await a.evaluate(() => window.client.scrape());
    const { scraped } = await noted(a);
    return scraped?.complete === 1 && scraped.incomplete === 1;
  });
  for (const page of [a, b]) expect((await noted(page)).warnings).toEqual([]);
});

/** P2P Media Loader as its documentation has it, with hls.js. */
function loaderPage(tracker: Tracker): string {
  return `<!doctype html><html lang="en"><title>P2P Media Loader</title><script>${NOTED}</script><script src="/loader.js"></script>
<video autoplay muted playsinline width="640" height="360"></video>
<script>
  const hls = new (HlsJsP2PEngine.injectMixin(Hls))({
    lowLatencyMode: false,
    liveSyncDuration: Number(location.search.slice(1)),
    p2p: {
      core: { announceTrackers: [${JSON.stringify(tracker.announceUrl)}], rtcConfig: {}, highDemandTimeWindow: 3, httpDownloadTimeWindow: 5 },
      onHlsJsCreated(hls) {
        hls.p2pEngine.addEventListener('onPeerConnect', () => { noted.connections += 1; });
        hls.p2pEngine.addEventListener('onChunkDownloaded', (len, from) => { noted.bytes[from] += len; });
        hls.p2pEngine.addEventListener('onTrackerWarning', ({ warning }) => noted.warnings.push(String(warning)));
        hls.p2pEngine.addEventListener('onTrackerError', ({ error }) => noted.warnings.push(String(error)));
      },
    },
  });
  hls.on(Hls.Events.ERROR, (_, { fatal, details }) => { if (fatal) noted.fatal = details; });
  hls.loadSource(${JSON.stringify(`${tracker.origin}/hls/${CHANNEL}/index.m3u8`)});
  hls.attachMedia(document.querySelector('video'));
</script>`;
}

test('unmodified P2P Media Loader with hls.js shares our HLS by our tracker @ci', async ({ world }) => {
  const tracker = await world.tracker({ isWebTorrent: true });
  await world.send(tracker, 'rtmp');
  const loader =
    await bundle(`import Hls from 'hls.js'; import { HlsJsP2PEngine } from 'p2p-media-loader-hlsjs';
    Object.assign(window, { Hls, HlsJsP2PEngine });`);
  const site = await StaticSite.serve(loaderPage(tracker), { '/loader.js': loader });
  world.atEnd(() => site.stop());
  // Who is further behind can have what the other has already.
  const a = await openPage(world, site, '/?4');
  await until('there is enough to be behind', () => mediaTime(a).then((seconds) => seconds > 12));
  const b = await openPage(world, site, '/?10');
  for (const page of [a, b]) {
    await until('the tabs are connected', async () => (await noted(page)).connections > 0);
  }
  await until(
    'a tab gets media from the other',
    async () => {
      const all = [await noted(a), await noted(b)];
      return all.some(({ bytes }) => bytes.p2p > 100_000);
    },
    60_000,
  );
  for (const page of [a, b]) {
    const { warnings, fatal } = await noted(page);
    expect({ warnings, fatal }).toEqual({ warnings: [], fatal: null });
  }
});

async function openPage(world: World, site: StaticSite, path = '/'): Promise<Page> {
  return (await world.open(`${site.origin}${path}`)).page;
}

/** Seconds. */
function mediaTime(page: Page): Promise<number> {
  return page.evaluate(() => document.querySelector('video')?.currentTime ?? 0);
}

function noted(page: Page): Promise<Noted> {
  return page.evaluate(() => window.noted);
}
