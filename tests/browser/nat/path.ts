import type { Viewer } from '../src/viewer';

/** How two viewers are connected, the best first. */
export const PATHS = ['direct', 'relay by UDP', 'relay by TCP', 'server only'] as const;
export type Path = (typeof PATHS)[number];

/** One end of the connection that is used: its kinds of candidates (RFC 8445), and how it reaches its relay if it uses one. */
export interface End {
  readonly local: string;
  readonly remote: string;
  readonly relayProtocol?: string | undefined;
}

declare global {
  interface Window {
    /** From `page/connections.js`: the pair of candidates of the first connection that stands. */
    selectedEnd(): Promise<End | undefined>;
  }
}

/** The viewer's end of its connection to the other one, if it stands. */
export function endOf(viewer: Viewer): Promise<End | undefined> {
  return viewer.page.evaluate(() => window.selectedEnd());
}

/** What the two ends say together; `undefined` is an end without a connection. */
export function pathOf(ends: readonly (End | undefined)[]): Path {
  const there = ends.flatMap((end) => end ?? []);
  if (there.length < ends.length) return 'server only';
  if (there.some(({ relayProtocol }) => relayProtocol === 'tcp')) return 'relay by TCP';
  const isRelayed = there.some(({ local, remote }) => local === 'relay' || remote === 'relay');
  return isRelayed ? 'relay by UDP' : 'direct';
}
