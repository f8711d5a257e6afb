import type { Viewer } from '../src/viewer';

/** How two viewers are connected, the best first. */
export const PATHS = ['direct', 'relay by UDP', 'relay by TCP', 'server only'] as const;
export type Path = (typeof PATHS)[number];

/** One end of a connection: its kinds of candidates (RFC 8445), and how it reaches its relay if it uses one. */
export interface End {
  readonly local: string;
  readonly remote: string;
  readonly relayProtocol?: string | undefined;
}

declare global {
  interface Window {
    /** From `page/connections.js`: the pairs of candidates of the connections that stand. */
    selectedEnds(): Promise<readonly End[]>;
  }
}

/** The viewer's ends of its connections that stand. */
export function endsOf(viewer: Viewer): Promise<readonly End[]> {
  return viewer.page.evaluate(() => window.selectedEnds());
}

/** The worst way between viewers, by the ends that each has. */
export function pathOf(ends: readonly (readonly End[])[]): Path {
  if (ends.some((ofOne) => ofOne.length === 0)) return 'server only';
  const all = ends.flat();
  if (all.some(({ relayProtocol }) => relayProtocol === 'tcp')) return 'relay by TCP';
  const isRelayed = all.some(({ local, remote }) => local === 'relay' || remote === 'relay');
  return isRelayed ? 'relay by UDP' : 'direct';
}
