import { readdirSync, readFileSync } from 'node:fs';
import { type Browser, type BrowserServer, chromium } from '@playwright/test';
import { chromiumOptions } from './chromium';

/** `CLK_TCK` of Linux, the same on every architecture it runs browsers on. */
const TICKS_PER_SECOND = 100;
/** Of what follows the command in `/proc/PID/stat`: parent, user time, system time (proc(5), fields 4, 14 and 15). */
const FIELDS = { parent: 1, user: 11, system: 12 };

/** A Chromium whose processes can be found. */
export class MeasuredBrowser {
  private constructor(
    readonly browser: Browser,
    private readonly server: BrowserServer,
  ) {}

  static async launch(): Promise<MeasuredBrowser> {
    const server = await chromium.launchServer(chromiumOptions());
    return new MeasuredBrowser(await chromium.connect(server.wsEndpoint()), server);
  }

  /** Processor seconds that the browser and its children have used so far. */
  cpuSeconds(): number {
    const root = this.server.process().pid;
    const processes = allProcesses();
    const family = new Set(root === undefined ? [] : [root]);
    // Children have larger numbers than their parents but for a wrap-around, so repeat until nothing is new.
    for (let size = 0; size !== family.size; ) {
      size = family.size;
      for (const { pid, parent } of processes) if (family.has(parent)) family.add(pid);
    }
    const ticks = processes.filter(({ pid }) => family.has(pid)).reduce((sum, one) => sum + one.ticks, 0);
    return ticks / TICKS_PER_SECOND;
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.server.close();
  }
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly ticks: number;
}

function allProcesses(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => processOf(Number(name)) ?? []);
}

function processOf(pid: number): Process | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const field = (index: number): number => fields[index] ?? 0;
    return { pid, parent: field(FIELDS.parent), ticks: field(FIELDS.user) + field(FIELDS.system) };
  } catch {
    return undefined;
  }
}
