import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium } from '@playwright/test';
import { chromiumOptions } from '../src/chromium';

/**
 * What is between a viewer and the internet, in the words of RFC 3489: `cone` lets anybody in at the port that it maps to, `restricted` only
 * whom the viewer has sent to, `symmetric` does so too and maps to another port for each of them, and `blocked` passes no UDP.
 */
export const KINDS = ['cone', 'restricted', 'symmetric', 'blocked'] as const;
export type Kind = (typeof KINDS)[number];

export const SIDES = ['a', 'b'] as const;
export type Side = (typeof SIDES)[number];

/** Where the tracker is in the laboratory: addresses for documentation (RFC 5737), that are nobody's. */
export const TRACKER_HOST = '203.0.113.1';
const HOST_ADDRESS = '203.0.113.254';
const PREFIX = 'cardume-lab';
const INTERNET = `${PREFIX}-inet`;
/** The end of the cable between this machine and the laboratory. */
const HOST_CABLE = 'cardume-lab0';

const home = (side: Side): string => `${PREFIX}-home-${side}`;
const router = (side: Side): string => `${PREFIX}-router-${side}`;

/**
 * Two homes, each behind a router of its own, and an internet with the tracker, out of network namespaces. This machine has a
 * cable to that internet, so that the tests can ask the tracker. Needs root, iproute2 and nftables.
 *
 *     home a -- router a --\
 *                           internet (203.0.113.0/24) -- this machine
 *     home b -- router b --/
 */
export class Lab {
  readonly #directory = mkdtempSync(join(tmpdir(), 'cardume-lab-'));

  constructor() {
    // A run that was killed leaves it behind.
    removeAll();
    namespace(INTERNET);
    ip(['-n', INTERNET, 'link', 'add', 'net', 'type', 'bridge']);
    ip(['-n', INTERNET, 'addr', 'add', `${TRACKER_HOST}/24`, 'dev', 'net']);
    ip(['-n', INTERNET, 'link', 'set', 'net', 'up']);
    ip(['link', 'add', HOST_CABLE, 'type', 'veth', 'peer', 'name', 'host', 'netns', INTERNET]);
    ip(['-n', INTERNET, 'link', 'set', 'host', 'master', 'net', 'up']);
    ip(['addr', 'add', `${HOST_ADDRESS}/24`, 'dev', HOST_CABLE]);
    ip(['link', 'set', HOST_CABLE, 'up']);
    for (const side of SIDES) connect(side);
  }

  /** What a program is started with that shall run where the tracker is. */
  get onTheInternet(): readonly string[] {
    return ['ip', 'netns', 'exec', INTERNET];
  }

  /** Makes a home's router one of this kind. Connections through it that stand are cut. */
  setRouter(side: Side, kind: Kind): void {
    run('ip', ['netns', 'exec', router(side), 'nft', '-f', '-'], rulesOf(side, kind));
  }

  /** What a program is started with that shall run in a home. */
  inHome(side: Side): readonly string[] {
    return ['ip', 'netns', 'exec', home(side)];
  }

  /** From now on a home has UDP alone; connections by TCP end. */
  cutTcp(side: Side): void {
    const rule = ['insert', 'rule', 'ip', 'filter', 'passing', 'meta', 'l4proto', 'tcp'];
    run('ip', ['netns', 'exec', router(side), 'nft', ...rule, 'reject', 'with', 'tcp', 'reset']);
  }

  /** A Chromium in a home. */
  browse(side: Side, origin: string): Promise<Browser> {
    const options = chromiumOptions();
    const wrapper = join(this.#directory, `chromium-${side}`);
    writeFileSync(wrapper, `#!/bin/sh\nexec ip netns exec ${home(side)} '${options.executablePath}' "$@"\n`);
    chmodSync(wrapper, 0o755);
    const trust = `--unsafely-treat-insecure-origin-as-secure=${origin}`;
    return chromium.launch({ ...options, executablePath: wrapper, args: [...(options.args ?? []), trust] });
  }

  remove(): void {
    removeAll();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function connect(side: Side): void {
  const [inner, outer] = side === 'a' ? ['10.1.0', '203.0.113.11'] : ['10.2.0', '203.0.113.12'];
  namespace(home(side));
  namespace(router(side));
  cable([router(side), 'wan', `${outer}/24`], [INTERNET, `to-${side}`]);
  ip(['-n', INTERNET, 'link', 'set', `to-${side}`, 'master', 'net']);
  cable([router(side), 'lan', `${inner}.1/24`], [home(side), 'lan', `${inner}.2/24`]);
  ip(['-n', home(side), 'route', 'add', 'default', 'via', `${inner}.1`]);
  ip(['-n', router(side), 'route', 'add', 'default', 'via', TRACKER_HOST]);
  run('ip', ['netns', 'exec', router(side), 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
}

function rulesOf(side: Side, kind: Kind): string {
  const inner = side === 'a' ? '10.1.0.2' : '10.2.0.2';
  const mapping = kind === 'symmetric' ? 'masquerade fully-random' : 'masquerade';
  // With one home behind it, a port that is kept is the same for everybody; whoever sends to it comes in.
  const isOpen = kind === 'cone';
  const inbound = isOpen ? `iifname "wan" udp dport 1024-65535 dnat to ${inner};` : '';
  const stranger = isOpen
    ? 'iifname "wan" meta l4proto != udp ct state new drop;'
    : 'iifname "wan" ct state new drop;';
  const udp = kind === 'blocked' ? 'meta l4proto udp drop;' : '';
  return `flush ruleset
table ip nat {
  chain inbound { type nat hook prerouting priority dstnat; ${inbound} }
  chain outbound { type nat hook postrouting priority srcnat; oifname "wan" ${mapping}; }
}
table ip filter {
  chain own { type filter hook input priority filter; iifname "wan" ct state new drop; }
  chain passing { type filter hook forward priority filter; ${stranger} ${udp} }
}
`;
}

function namespace(name: string): void {
  ip(['netns', 'add', name]);
  ip(['-n', name, 'link', 'set', 'lo', 'up']);
}

type End = readonly [namespace: string, device: string, address?: string];

function cable(one: End, other: End): void {
  ip(['link', 'add', one[1], 'netns', one[0], 'type', 'veth', 'peer', 'name', other[1], 'netns', other[0]]);
  for (const [name, device, address] of [one, other]) {
    if (address !== undefined) ip(['-n', name, 'addr', 'add', address, 'dev', device]);
    ip(['-n', name, 'link', 'set', device, 'up']);
  }
}

function removeAll(): void {
  const there = run('ip', ['netns', 'list']).split('\n');
  for (const name of there.map((line) => line.split(' ')[0] ?? '')) {
    if (name.startsWith(`${PREFIX}-`)) ip(['netns', 'del', name]);
  }
  // The other end of the cable goes with the namespace, and this one with that, but not at once.
  if (run('ip', ['-o', 'link']).includes(`${HOST_CABLE}@`)) {
    try {
      ip(['link', 'del', HOST_CABLE]);
    } catch {
      // It went by itself.
    }
  }
}

const ip = (args: readonly string[]): string => run('ip', args);

function run(program: string, args: readonly string[], input = ''): string {
  return execFileSync(program, [...args], { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
}
