import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { dismiss, gather, type Guest } from './support/gathering.ts';
import { type Outbound, Person } from './support/person.ts';
import { startServer } from './support/server.ts';

/** Windows whose one tile is of about so many lines. */
const WINDOWS = {
  180: { width: 340, height: 260 },
  360: { width: 600, height: 440 },
  720: { width: 1280, height: 800 },
} as const;

let guests: Guest[];
/** Watches. */
let ada: Person;
/** Is seen. */
let wei: Person;

before(async () => {
  guests = await gather(2);
  [ada, wei] = guests.map(({ person }) => person) as [Person, Person];
});

after(() => dismiss(guests ?? []));

for (const [codec, mode] of [
  ['vp9', 'L1T3'],
  ['vp9', 'L3T3_KEY'],
  ['av1', 'L1T3'],
  ['av1', 'L3T3_KEY'],
] as const) {
  test(`a page sends its camera in ${codec} with ${mode}`, async () => {
    const server = await startServer({ TIANQIAO_CAMERA_CODEC: codec, TIANQIAO_CAMERA_SCALABILITY: mode });
    try {
      const { join_url } = await server.createMeeting();
      await ada.join(join_url);
      await ada.page.click('#control-camera'); // one encoder is work enough for a small machine
      await wei.open(join_url);
      await wei.until('an offer by the wish of the server', () => wei.connectionCount(), (count) => count === 2);
      await wei.page.locator('.preview video').waitFor();
      await wei.page.click('#join');
      const { mid } = await ada.sees('Wei');
      const sent = await wei.until('one stream', camera, ({ codec }) => codec !== '');
      assert.equal(sent.codec.toLowerCase(), `video/${codec}`);
      assert.equal(sent.scalabilityMode, mode);

      for (const lines of [180, 360, 720, 180] as const) {
        await shows(mid, lines, mode);
        await steady(mid);
      }
      await wei.page.click('#control-camera');
      await ada.tile('Wei').locator('.avatar').waitFor();
      await wei.page.click('#control-camera');
      await ada.sees('Wei');
      await steady(mid);

      await ada.setHidden(true);
      await wei.until('it is off', camera, ({ active }) => !active, 30_000);
      await wei.until('nothing is sent', sending, (bytes) => bytes === 0, 10_000);
      const began = Date.now();
      await ada.setHidden(false);
      await ada.framesGoOn(mid, 1);
      console.log(`a picture ${Date.now() - began} ms after somebody looked`);
      await steady(mid);
      await wei.leave();
      await ada.leave();
    } finally {
      await server.stop();
    }
  });
}

for (const [what, script] of [
  ['without the codec', () => {
    const all = RTCRtpSender.getCapabilities;
    RTCRtpSender.getCapabilities = (kind) => {
      const { codecs, headerExtensions } = all.call(RTCRtpSender, kind)!;
      return { codecs: codecs.filter(({ mimeType }) => mimeType !== 'video/VP9'), headerExtensions };
    };
  }],
  ['that passes over the scalability mode', () => {
    const all = RTCRtpSender.prototype.getParameters;
    RTCRtpSender.prototype.getParameters = function () {
      const parameters = all.call(this);
      for (const encoding of parameters.encodings) Reflect.deleteProperty(encoding, 'scalabilityMode');
      return parameters;
    };
  }],
] as const) {
  test(`a browser ${what} sends VP8 in simulcast`, async () => {
    const server = await startServer({ TIANQIAO_CAMERA_CODEC: 'vp9' });
    const other = await Person.arrive(guests[1]!.browser, 'Other');
    try {
      await other.page.addInitScript(script);
      const { join_url } = await server.createMeeting();
      await other.open(join_url);
      await other.until('an offer by the wish of the server', () => other.connectionCount(), (count) => count === 2);
      await other.page.click('#join');
      const video = async () => (await other.sent()).filter(({ kind }) => kind === 'video');
      const sent = await other.until('it sends', video, (all) => all.some(({ codec }) => codec !== ''));
      assert.deepEqual(sent.map(({ rid }) => rid).sort(), ['f', 'h', 'q']);
      assert.ok(sent.every(({ codec }) => ['', 'video/VP8'].includes(codec)), JSON.stringify(sent));
      assert.deepEqual(other.errors, []);
    } finally {
      await other.page.close();
      await server.stop();
    }
  });
}

test('no page had an error', () => {
  for (const { person } of guests) assert.deepEqual(person.errors, []);
});

/** Ada's window gets the layer that fits; where there is one size it is that of the encoder, which may go with the link. */
async function shows(mid: string, lines: keyof typeof WINDOWS, mode: string): Promise<void> {
  await ada.page.setViewportSize(WINDOWS[lines]);
  const began = Date.now();
  await ada.until(
    `${lines} lines`,
    async () => ({ ...(await ada.video(mid)), sent: await camera() }),
    ({ frameHeight, sent }) => frameHeight === (mode === 'L1T3' ? sent.frameHeight : lines),
    20_000,
  );
  if (mode !== 'L1T3') console.log(`${lines} lines after ${Date.now() - began} ms`);
}

/** The one stream of Wei's camera. */
async function camera(): Promise<Outbound> {
  const sent = (await wei.sent()).filter(({ kind }) => kind === 'video');
  assert.equal(sent.length, 1, JSON.stringify(sent));
  return sent[0]!;
}

/** Bytes that it sends in a second and a half. */
async function sending(): Promise<number> {
  const { bytesSent } = await camera();
  await wei.page.waitForTimeout(1_500); // the span that is measured
  return (await camera()).bytesSent - bytesSent;
}

/** Ada's picture moves for two seconds without a request for a key frame. */
async function steady(mid: string): Promise<void> {
  await ada.framesGoOn(mid);
  const before = await ada.video(mid);
  await ada.page.waitForTimeout(2_000); // the span that is measured
  const later = await ada.video(mid);
  assert.equal(later.pliCount, before.pliCount, 'no PLI once the picture is there');
  assert.ok(later.framesDecoded > before.framesDecoded + 5, `the picture moves: ${JSON.stringify([before, later])}`);
}
