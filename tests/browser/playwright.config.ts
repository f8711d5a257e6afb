import { defineConfig } from '@playwright/test';
import { chromiumOptions } from './src/chromium';
import type { TestOptions } from './src/fixture';

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
    { name: 'full', use: { watchMs: 60_000 } },
    { name: 'ci', grep: /@ci/, use: { watchMs: 12_000 } },
  ],
});
