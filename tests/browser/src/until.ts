/** After this long without the expected event a test fails. Far above what a busy machine needs. */
export const PATIENCE_MS = 30_000;
/** How often a condition is looked at. */
const LOOK_INTERVAL_MS = 100;

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `look` gives something other than `undefined` and `false`, and gives that. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  patienceMs = PATIENCE_MS,
): Promise<T> {
  const giveUpAt = Date.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > giveUpAt) throw new Error(`${what} did not happen within ${patienceMs} ms`);
    await pause(LOOK_INTERVAL_MS);
  }
}
