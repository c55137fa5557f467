import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserOptions, launch } from './browser.ts';
import { Person } from './person.ts';
import { film, type Film, type Scene, SCENES } from './scenes.ts';

export interface Guest {
  person: Person;
  browser: Browser;
  scene: Scene;
}

const GUESTS: [string, keyof typeof SCENES][] = [
  ['Ada', 'ada'],
  ['Wei', 'wei'],
  ['Amara', 'amara'],
  ['Tomas', 'tomas'],
];

/** People in browsers of their own, each before a different camera picture. */
export async function gather(count: number, options: BrowserOptions = {}, filmed: Film = {}): Promise<Guest[]> {
  const guests: Guest[] = [];
  for (const [name, key] of GUESTS.slice(0, count)) {
    const camera = await filmFile(key, filmed);
    const browser = await launch({ ...options, camera });
    guests.push({ person: await Person.arrive(browser, name), browser, scene: SCENES[key] });
  }
  return guests;
}

export async function dismiss(guests: readonly Guest[]): Promise<void> {
  await Promise.all(guests.map(({ browser }) => browser.close()));
}

/** Films are drawn once and kept among the temporary files. */
export async function filmFile(key: keyof typeof SCENES, filmed: Film = {}): Promise<string> {
  const folder = join(tmpdir(), 'tianqiao-scenes');
  const hash = createHash('sha256').update(JSON.stringify([SCENES[key], filmed])).digest('hex').slice(0, 12);
  const file = join(folder, `${key}-${hash}.y4m`);
  if (existsSync(file)) return file;
  mkdirSync(folder, { recursive: true });
  const browser = await launch();
  const unfinished = `${file}.${process.pid}`;
  await film(await browser.newPage(), SCENES[key], unfinished, filmed);
  renameSync(unfinished, file);
  await browser.close();
  return file;
}

/** Each sees every other: the right track in the slot, the right picture, moving; and hears somebody. */
export async function everyoneSeesAndHears(guests: readonly Guest[]): Promise<void> {
  const trackIds = new Map<string, number>();
  for (const { person } of guests) {
    for (const other of guests) {
      if (other.person === person) continue;
      const { mid, track } = await person.sees(other.person.name);
      const known = trackIds.get(other.person.name) ?? track;
      assert.equal(track, known, `${other.person.name} is the same track for everybody`);
      trackIds.set(other.person.name, track);
      await person.framesGoOn(mid);
      await person.until(
        `the CSRC of section ${mid} is ${other.person.name}'s track ${track}`,
        async () => (await person.video(mid)).sources,
        (sources) => sources.length === 1 && sources[0] === track,
      );
      await looksRight(person, other);
    }
    await person.hearsSomebody();
  }
  assert.equal(new Set(trackIds.values()).size, trackIds.size, 'tracks have ids of their own');
}

/** The picture is that of `other`'s camera, and it moves. */
export async function looksRight(person: Person, other: Guest): Promise<void> {
  const { name } = other.person;
  const seen = await person.until(
    `${name}'s wall is ${other.scene.wall}`,
    () => person.pixels(name),
    ({ wall }) => wall.every((value, channel) => Math.abs(value - other.scene.wall[channel]!) < 24),
  );
  await person.until(`${name}'s picture moves`, () => person.pixels(name), ({ sum }) => sum !== seen.sum); // prettier-ignore
}
