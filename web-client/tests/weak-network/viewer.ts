/**
 * Somebody in a meeting by a browser of their own. Prints a line of JSON for each report of the page, and does what
 * each line of its standard input says: `visit URL` goes there, `close` leaves the page, `pin NAME` puts a picture
 * on the stage, `size WIDTH HEIGHT` is the page's, `whip JSON` publishes a camera from where the page is, `share`
 * shares a screen and `slide N` changes what is on it. It ends with its input.
 *
 *     node --import tsx tests/weak-network/viewer.ts '{"name": "Lin", "microphone": false, "camera": false}'
 */
import { createHash, X509Certificate } from 'node:crypto';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { launch } from '../support/browser.ts';
import { filmFile } from '../support/gathering.ts';
import { publish, type WhipOptions } from '../support/whip.ts';
import { probe, type ProbeOptions } from './probe.ts';
import { listen, RATE, WavFile } from './recorder.ts';
import { shownSlide, slides, slidesArgument } from './slides.ts';

interface ViewerOptions extends ProbeOptions {
  /** The camera films a drawn person instead of a test picture. */
  film?: boolean;
  /** A .wav file that the microphone hears. */
  speech?: string;
  /** A .wav file for what the page plays. */
  recording?: string;
  /** The server's, in PEM: as good as one of an authority. Without it any is taken, but then the browser keeps no page. */
  certificate?: string;
  /** Has slides to share. */
  slides?: boolean;
  /** Receivers hold no more than the browser thinks, whatever the page says. */
  smallBuffer?: boolean;
  flags?: string[];
}

const options = JSON.parse(process.argv[2] ?? '') as ViewerOptions;
const speech = options.speech ? [`--use-file-for-fake-audio-capture=${options.speech}`] : [];
const browser = await launch({
  camera: options.film ? await filmFile('ada', { framesPerSecond: 20, frames: 40 }) : undefined,
  flags: [trust(options.certificate), ...speech, ...(options.flags ?? [])],
});
const page = await browser.newPage();
page.setDefaultTimeout(0);
/** Where all that is printed is kept too, to look into a run that surprises. */
const logs = process.env.TIANQIAO_VIEWER_LOGS;
const keep = (text: string) => logs && appendFileSync(join(logs, `${options.name}.jsonl`), text);
const say = (line: object) => {
  const text = `${JSON.stringify(line)}\n`;
  process.stdout.write(text);
  keep(text);
};
await page.exposeFunction('tell', say);
page.on('pageerror', (error) => say({ type: 'error', message: error.message }));
page.on('console', (message) => keep(`${JSON.stringify({ type: 'console', at: Date.now(), text: message.text() })}\n`));
page.on('websocket', (socket) => {
  say({ type: 'socket', open: true, at: Date.now() });
  socket.on('close', () => say({ type: 'socket', open: false, at: Date.now() }));
});
const wav = options.recording ? new WavFile(options.recording) : undefined;
if (wav) {
  await page.exposeFunction('hear', (samples: string) => wav.append(samples));
  await page.addInitScript(listen, RATE);
}
if (options.smallBuffer) {
  await page.addInitScript(() => Object.defineProperty(RTCRtpReceiver.prototype, 'jitterBufferTarget', { get: () => null, set: () => {} }));
}
if (options.slides) await page.addInitScript(slides, slidesArgument);
await page.addInitScript(`globalThis.shownSlide = () => (${shownSlide.toString()})(${slidesArgument})`);
await page.addInitScript(probe, { name: options.name, microphone: options.microphone, camera: options.camera, everyMs: options.everyMs });
say({ type: 'launched' });

for await (const line of createInterface({ input: process.stdin })) {
  const [, command, rest = ''] = /^(\S+) ?(.*)$/.exec(line) ?? [];
  if (command === 'visit') {
    // Over a weak link that takes its time, and reports say when what came.
    page.goto(rest, { waitUntil: 'commit' }).catch((error: Error) => say({ type: 'error', message: error.message }));
  } else if (command === 'close') {
    await page.goto('about:blank');
  } else if (command === 'pin') {
    await page.locator('.tile:not([data-self])', { hasText: rest }).first().dblclick();
  } else if (command === 'size') {
    const [width = 0, height = 0] = rest.split(' ').map(Number);
    await page.setViewportSize({ width, height });
  } else if (command === 'whip') {
    await page.evaluate(publish, { frameRate: 15, ...(JSON.parse(rest) as WhipOptions) });
    say({ type: 'published' });
  } else if (command === 'share') {
    await page.click('#control-screen');
    await page.locator('.banner.sharing').waitFor();
    say({ type: 'shared' });
  } else if (command === 'slide') {
    const at = await page.evaluate((number) => (globalThis as unknown as { showSlide(n: number): number }).showSlide(number), Number(rest));
    say({ type: 'slide', at });
  }
}
await browser.close();
wav?.close();

function trust(certificate: string | undefined): string {
  if (certificate === undefined) return '--ignore-certificate-errors';
  const key = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: 'spki', format: 'der' });
  return `--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`;
}
