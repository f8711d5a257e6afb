/** Words and numbers as the pages show them. Missing values are a dash of the same width class. */

import type { Channel } from '../engine/types';

const NOTHING = '–';

/** `812 ms`, `1.94 s`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NOTHING;
  return Math.abs(ms) < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** How long a film lasts: `0:08`, `12:40`, `1:32:10`. */
export function playingTime(ms: number): string {
  const total = Math.round(ms / 1000);
  const [hours, minutes, seconds] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const twoDigits = (n: number): string => String(n).padStart(2, '0');
  return hours > 0
    ? `${hours}:${twoDigits(minutes)}:${twoDigits(seconds)}`
    : `${minutes}:${twoDigits(seconds)}`;
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

/** What a channel is: `Live`, `Off air`, `Film · 1:32:10`. */
export function badge(channel: Channel): string {
  if (channel.kind === 'live') return channel.is_live ? 'Live' : 'Off air';
  return channel.duration_ms === undefined ? 'Film' : `Film · ${playingTime(channel.duration_ms)}`;
}
