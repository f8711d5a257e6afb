import { HEIGHT } from '../src/clock-picture';
import { expect, test } from '../src/fixture';
import { expectMoving } from '../src/judge';
import { LOW_HEIGHT } from '../src/sender';

test('a viewer chooses the lower of two renditions, and the picture changes without standing still @ci', async ({
  world,
  demands,
}) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'ladder');
  const viewer = await world.watch(tracker);
  await viewer.untilPlaying();
  const menu = viewer.page.getByLabel('Picture quality');
  await expect(menu).toBeVisible();
  await expect(menu.locator('option')).toHaveText([`Auto (${HEIGHT}p)`, `${HEIGHT}p`, `${LOW_HEIGHT}p`]);
  await expect.poll(() => viewer.height()).toBe(HEIGHT);

  await menu.selectOption({ label: `${LOW_HEIGHT}p` });
  await expect.poll(() => viewer.height(), { timeout: 20_000 }).toBe(LOW_HEIGHT);
  await expectMoving(viewer);
  const { longestStallMs } = await viewer.untilStats('statistics', (found) => found);
  expect(longestStallMs).toBeLessThanOrEqual(demands.stallLimitMs);
  await expect(menu).toHaveValue(/\d+/);
});

test('where there is one rendition only, there is no menu @ci', async ({ world }) => {
  const tracker = await world.tracker();
  await world.send(tracker, 'dash');
  const viewer = await world.watch(tracker);
  await viewer.untilPlaying();
  await expect(viewer.page.getByLabel('Picture quality')).toBeHidden();
});
