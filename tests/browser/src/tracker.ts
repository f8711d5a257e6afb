import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Child } from './process';
import { until } from './until';

/** The channel that tests send to, and its stream key. */
export const CHANNEL = 'live';
export const KEY = 'a-key-for-tests';
/** A channel that nobody sends to. */
export const QUIET_CHANNEL = 'quiet';

/** What `/v1/channels/ID/stats` says, as far as tests read it. */
export interface ChannelStats {
  readonly channel: { readonly is_live: boolean; readonly n_viewers: number };
  readonly egress: {
    readonly bits_per_second: number;
    readonly max_bits_per_second: number;
    readonly total_len: number;
  };
  readonly budget_bits_per_second: number | null;
  readonly n_links: number;
  readonly sent_len: number;
}

export interface TrackerOptions {
  /** As in the configuration: `2400 kbit/s`, `unlimited`. */
  readonly egress?: string;
  /** With the channel that needs no sender, and no others. */
  readonly isDemo?: boolean;
  /** A folder of films. */
  readonly films?: string;
  /** Whether WebTorrent clients are served. */
  readonly isWebTorrent?: boolean;
  /** The address that it listens on; the loopback address by default. */
  readonly host?: string;
  /** A command that it is started under, such as one that puts it into another network. */
  readonly under?: readonly string[];
  /** More lines of the configuration; without them STUN is off. */
  readonly more?: string;
}

/** The built `cardume` on ports and with a data directory of its own. */
export class Tracker {
  #child: Child | undefined;

  private constructor(
    readonly httpPort: number,
    readonly rtmpPort: number,
    private readonly directory: string,
    private readonly options: TrackerOptions,
  ) {}

  static async start(options: TrackerOptions = {}): Promise<Tracker> {
    const directory = await mkdtemp(join(tmpdir(), 'cardume-test-'));
    const tracker = new Tracker(await freePort(), await freePort(), directory, options);
    await writeFile(join(directory, 'cardume.toml'), tracker.#config(options));
    await tracker.restart();
    return tracker;
  }

  get #host(): string {
    return this.options.host ?? '127.0.0.1';
  }

  get origin(): string {
    return `http://${this.#host}:${this.httpPort}`;
  }

  /** Where WebTorrent clients announce themselves. */
  get announceUrl(): string {
    return `ws://127.0.0.1:${this.httpPort}/announce`;
  }

  get rtmpUrl(): string {
    return `rtmp://${this.#host}:${this.rtmpPort}/live/${KEY}`;
  }

  /** Where HTTP push goes. */
  get pushUrl(): string {
    return `${this.origin}/ingest/${KEY}`;
  }

  get output(): string {
    return this.#child?.output ?? '';
  }

  /** Starts the program, again if it ran before: same ports, same data. */
  async restart(): Promise<void> {
    await this.#child?.stop();
    const program = process.env.CARDUME_BIN ?? resolve('../../target/release/cardume');
    const command = [
      ...(this.options.under ?? []),
      program,
      'serve',
      '--config',
      join(this.directory, 'cardume.toml'),
    ];
    const child = new Child('cardume', command[0] ?? program, command.slice(1));
    this.#child = child;
    await until('the tracker answers', () => {
      if (!child.isRunning) throw new Error(`the tracker ended at once\n${child.output}`);
      return this.#isHealthy();
    });
  }

  /** Ends the program and forgets its data. */
  async stop(): Promise<void> {
    await this.#child?.stop();
    await rm(this.directory, { recursive: true, force: true });
  }

  async stats(channel = CHANNEL): Promise<ChannelStats> {
    const response = await fetch(`${this.origin}/v1/channels/${channel}/stats`);
    if (!response.ok) throw new Error(`no statistics of ${channel}: ${response.status}`);
    return (await response.json()) as ChannelStats;
  }

  /** Bytes that the relay has passed on. */
  async relayedLen(): Promise<number> {
    const response = await fetch(`${this.origin}/v1/egress`);
    if (!response.ok) throw new Error(`no report of the egress: ${response.status}`);
    return ((await response.json()) as { relay: { total_len: number } }).relay.total_len;
  }

  /** Waits until the tracker calls the channel live, or not. */
  async untilLive(isLive: boolean, channel = CHANNEL): Promise<void> {
    await until(`${channel} is ${isLive ? 'live' : 'off air'}`, async () => {
      return (await this.stats(channel)).channel.is_live === isLive;
    });
  }

  async #isHealthy(): Promise<boolean> {
    try {
      return (await fetch(`${this.origin}/healthz`)).ok;
    } catch {
      return false;
    }
  }

  #config({
    egress = 'unlimited',
    isDemo = false,
    films,
    isWebTorrent = false,
    more = 'stun = "off"',
  }: TrackerOptions): string {
    return `http = "${this.#host}:${this.httpPort}"
rtmp = "${this.#host}:${this.rtmpPort}"
${more}
data_dir = ${JSON.stringify(join(this.directory, 'data'))}
egress_limit = "${egress}"
demo = ${isDemo}
webtorrent = ${isWebTorrent}
${films === undefined ? '' : `films = ${JSON.stringify(films)}`}

[[channel]]
id = "${CHANNEL}"
title = "Harbour at dawn"
key = "${KEY}"

[[channel]]
id = "${QUIET_CHANNEL}"
title = "Night radio"
key = "another-key-for-tests"
`;
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}
