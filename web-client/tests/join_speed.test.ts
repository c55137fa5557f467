import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { dismiss, gather, type Guest } from './support/gathering.ts';
import type { Person } from './support/person.ts';
import { type Server, startServer } from './support/server.ts';

const JOINS = 9;
/** It takes some 400 ms on two quiet cores; a round trip by timer or a lost key frame takes longer than this on busy ones. */
const FIRST_FRAME_MS = 2_000;
const JOIN_BYTES = 6_000;

let server: Server;
let guests: Guest[];

before(async () => {
  server = await startServer();
  guests = await gather(2, {}, { framesPerSecond: 30, frames: 12 });
});

after(async () => {
  await dismiss(guests ?? []);
  await server?.stop();
});

test('a join is quick and small', async () => {
  const [ada, wei] = guests.map(({ person }) => person) as [Person, Person];
  const { join_url } = await server.createMeeting();
  await ada.join(join_url);
  const bytes: number[] = [];
  const median = await medianOfJoins(ada, wei, join_url, bytes);
  console.log(`bytes of signaling from join to first frame, both ways: ${Math.max(...bytes)} at most`);
  assert.ok(median < FIRST_FRAME_MS, `${median} ms`);
  assert.ok(Math.max(...bytes) <= JOIN_BYTES, `${Math.max(...bytes)} bytes`);
});

/** Joins and leaves again and again; the median of the time from click to first frame, in ms. */
async function medianOfJoins(ada: Person, wei: Person, url: string, bytes: number[]): Promise<number> {
  const times: number[] = [];
  for (let join = 0; join < JOINS; join += 1) {
    Object.assign(wei.bytes, { sent: 0, received: 0 });
    await wei.join(url);
    times.push(await wei.until('the first frame', () => wei.firstFrameMs(), (ms) => ms > 0)); // prettier-ignore
    bytes.push(wei.bytes.sent + wei.bytes.received);
    const slots = await wei.page.evaluate(() => {
      const { connections } = (globalThis as unknown as { probe: { connections: RTCPeerConnection[] } }).probe;
      return connections[0]!.getTransceivers().filter(({ direction }) => direction === 'recvonly').length;
    });
    assert.equal(slots, 4 + 9);
    await wei.leave();
    await ada.tile('Wei').waitFor({ state: 'detached' });
  }
  const sorted = [...times].sort((a, b) => a - b);
  const median = sorted[Math.floor(JOINS / 2)]!;
  console.log(`click on "join" to first frame: median ${median.toFixed(0)} ms of ${sorted.map(Math.round).join(', ')}`);
  return median;
}
