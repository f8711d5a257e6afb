import type { LaunchOptions } from '@playwright/test';

/** One browser stands for many viewers, none of which may count as hidden. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
];

/** How every test starts Chromium: `CHROMIUM` names the program. */
export function chromiumOptions(): LaunchOptions {
  return { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS, headless: true };
}
