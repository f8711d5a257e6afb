/** Words and numbers as the pages show them. Missing values are a dash of the same width class. */

const NOTHING = '–';

/** `812 ms`, `1.94 s`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NOTHING;
  return Math.abs(ms) < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** Decimal units, as links and data plans count: `640 kB`, `12.3 MB`. */
export function byteLen(len: number): string {
  if (len < 1000) return `${Math.round(len)} B`;
  if (len < 999_500) return `${Math.round(len / 1000)} kB`;
  if (len < 999_500_000) return `${(len / 1e6).toFixed(1)} MB`;
  return `${(len / 1e9).toFixed(2)} GB`;
}

/** `0.42` is `42 %`. */
export function share(part: number): string {
  return `${Math.round(part * 100)} %`;
}

/** `1 viewer`, `2 viewers`. */
export function viewers(n: number): string {
  return n === 1 ? '1 viewer' : `${n} viewers`;
}

/** `none`, or `2 · 0.31 s in all`. */
export function stalls(n: number, stalledMs: number): string {
  return n === 0 ? 'none' : `${n} · ${duration(stalledMs)}`;
}
