import { defineConfig } from '@playwright/test';
import { chromiumOptions } from './src/chromium';
import type { TestOptions } from './src/fixture';
import { LIVE, LIVE_ON_A_BUSY_MACHINE } from './src/judge';

/** One test at a time: each has a machine's worth of tabs, and latency is measured. */
export default defineConfig<TestOptions>({
  testDir: 'specs',
  outputDir: 'results',
  workers: 1,
  fullyParallel: false,
  retries: 0,
  timeout: 180_000,
  forbidOnly: process.env.CI !== undefined,
  reporter: 'list',
  use: { launchOptions: chromiumOptions() },
  projects: [
    { name: 'full', use: { watchMs: 60_000, demands: LIVE } },
    { name: 'ci', grep: /@ci/, use: { watchMs: 12_000, demands: LIVE_ON_A_BUSY_MACHINE } },
  ],
});
