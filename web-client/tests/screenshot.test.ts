import { statSync } from 'node:fs';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dismiss, gather } from './support/gathering.ts';
import { startServer } from './support/server.ts';

const PICTURE = join(import.meta.dirname, '../../docs/images/meeting.png');
const LARGEST = 300_000;

/** Draws the picture of the README anew: `npm run screenshot`. */
test('a picture of a meeting', { skip: !process.env.TIANQIAO_SCREENSHOT }, async () => {
  const server = await startServer();
  const guests = await gather(4, { viewport: { width: 1120, height: 700 } });
  try {
    const { join_url } = await server.createMeeting({ title: 'Design review' });
    for (const { person } of guests) await person.join(join_url);
    const viewer = guests[3]!.person;
    const [ada, wei] = [guests[0]!.person, guests[1]!.person];
    for (const { person } of guests.slice(0, 3)) {
      const { mid } = await viewer.sees(person.name);
      await viewer.until('a sharp picture', async () => (await viewer.video(mid)).frameHeight, (h) => h >= 360, 30_000); // prettier-ignore
    }
    await wei.page.click('#control-microphone');
    for (const [person, text] of [
      [ada, 'Good morning! Shall we start with the sketches?'],
      [wei, '大家早上好！'],
      [ada, 'They are here: https://example.org/sketches'],
      [viewer, 'I like the second one.'],
    ] as const) {
      if (!(await person.page.locator('textarea').count())) await person.page.click('#control-chat');
      await person.page.fill('textarea', text);
      await person.page.press('textarea', 'Enter');
      await viewer.page.locator('.chat p, .toast', { hasText: text }).first().waitFor();
    }
    await viewer.page.locator('.tile.speaking').first().waitFor();
    await viewer.page.locator('.toast').first().waitFor({ state: 'detached' });
    await viewer.page.screenshot({ path: PICTURE });
    assert.ok(statSync(PICTURE).size < LARGEST, `${statSync(PICTURE).size} bytes`);
  } finally {
    await dismiss(guests);
    await server.stop();
  }
});
