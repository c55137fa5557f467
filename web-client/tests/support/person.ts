import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import type { Browser } from './browser.ts';

export interface Inbound {
  mid: string;
  kind: 'audio' | 'video';
  framesDecoded: number;
  pliCount: number;
  frameWidth: number;
  frameHeight: number;
  totalAudioEnergy: number;
  packetsReceived: number;
  /** Contributing sources of the latest packets: the ids of the tracks. */
  sources: number[];
}

export interface Outbound {
  mid: string;
  kind: 'audio' | 'video';
  /** Empty without simulcast. */
  rid: string;
  active: boolean;
  bytesSent: number;
  /** Lines of the latest picture that was encoded. */
  frameHeight: number;
  /** As `video/VP8`; empty before anything was sent. */
  codec: string;
  /** As the encoder says it, empty where it does not. */
  scalabilityMode: string;
}

interface Probe {
  connections: RTCPeerConnection[];
  clickedAt: number;
  firstFrameAt: number;
}

declare const probe: Probe;

/** Somebody in a meeting: a page, and what can be seen and measured in it. */
export class Person {
  readonly name: string;
  readonly page: Page;
  /** Bytes of the join's bodies and the WebSocket's frames, both ways. */
  readonly bytes = { sent: 0, received: 0 };
  readonly errors: string[] = [];

  static async arrive(browser: Browser, name: string): Promise<Person> {
    return new Person(await browser.newPage(), name);
  }

  private constructor(page: Page, name: string) {
    this.page = page;
    this.name = name;
    page.on('pageerror', (error) => this.errors.push(error.message));
    page.on('requestfinished', async (request) => {
      if (!request.url().endsWith('/join')) return;
      this.bytes.sent += request.postDataBuffer()?.length ?? 0;
      this.bytes.received += (await request.sizes().catch(() => undefined))?.responseBodySize ?? 0;
    });
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => (this.bytes.sent += Buffer.byteLength(payload)));
      socket.on('framereceived', ({ payload }) => (this.bytes.received += Buffer.byteLength(payload)));
    });
  }

  async open(url: string): Promise<void> {
    await this.page.goto(url);
    await this.page.fill('input[name=name]', this.name);
  }

  async join(url: string): Promise<void> {
    await this.open(url);
    await this.page.locator('.preview video').waitFor();
    await this.page.click('#join');
    await this.page.locator('.meeting').waitFor();
  }

  async leave(): Promise<void> {
    await this.page.click('#leave');
  }

  /** The tile of somebody else's camera or screen. */
  tile(name: string, source: 'camera' | 'screen' = 'camera') {
    // Names stand between marks that isolate them.
    const label = `\u2068?${name}\u2069?${source === 'screen' ? '’s screen' : ''}`;
    return this.page.locator(`.tile[data-source=${source}]:not([data-self])`, {
      has: this.page.locator('.name', { hasText: new RegExp(`^${label}$`) }),
    });
  }

  async names(): Promise<string[]> {
    const names = await this.page.locator('.tile[data-source=camera] .name').allTextContents();
    return names.map((name) => name.replace(/[\u2068\u2069]/g, ''));
  }

  /** Waits until the picture of `name` is one of the right track. */
  async sees(name: string, source: 'camera' | 'screen' = 'camera'): Promise<{ mid: string; track: number }> {
    const tile = this.tile(name, source);
    await tile.locator('video.slot.fresh').waitFor();
    const [mid, track] = await Promise.all([tile.getAttribute('data-mid'), tile.getAttribute('data-track')]);
    return { mid: mid!, track: Number(track) };
  }

  inbound(): Promise<Inbound[]> {
    return this.page.evaluate(async () => {
      const pc = probe.connections.findLast((pc) => pc.connectionState !== 'closed')!;
      const sources = new Map(
        pc.getTransceivers().map(({ mid, receiver }) => {
          const all = receiver.getContributingSources();
          const latest = Math.max(...all.map(({ timestamp }) => timestamp));
          return [mid, all.filter(({ timestamp }) => timestamp > latest - 500).map(({ source }) => source)];
        }),
      );
      return [...(await pc.getStats()).values()]
        .filter(({ type }) => type === 'inbound-rtp')
        .map((entry) => ({
          mid: entry.mid,
          kind: entry.kind,
          framesDecoded: entry.framesDecoded ?? 0,
          pliCount: entry.pliCount ?? 0,
          frameWidth: entry.frameWidth ?? 0,
          frameHeight: entry.frameHeight ?? 0,
          totalAudioEnergy: entry.totalAudioEnergy ?? 0,
          packetsReceived: entry.packetsReceived ?? 0,
          sources: sources.get(entry.mid) ?? [],
        }));
    });
  }

  /** All that the page sends. */
  sent(): Promise<Outbound[]> {
    return this.page.evaluate(async () => {
      const pc = probe.connections.findLast((pc) => pc.connectionState !== 'closed')!;
      const stats = await pc.getStats();
      return [...stats.values()]
        .filter(({ type }) => type === 'outbound-rtp')
        .map(({ mid, kind, rid = '', active = true, bytesSent = 0, frameHeight = 0, codecId, scalabilityMode = '' }) => {
          const codec: string = stats.get(codecId)?.mimeType ?? '';
          return { mid, kind, rid, active, bytesSent, frameHeight, codec, scalabilityMode };
        });
    });
  }

  /** Packets of all voices so far. */
  async heardPackets(): Promise<number> {
    const voices = (await this.inbound()).filter(({ kind }) => kind === 'audio');
    return voices.reduce((sum, { packetsReceived }) => sum + packetsReceived, 0);
  }

  /** The `sess-version` of the latest offer, which grows with each. */
  offerCount(): Promise<number> {
    return this.page.evaluate(() => {
      const { localDescription } = probe.connections.findLast((pc) => pc.connectionState !== 'closed')!;
      return Number(/^o=\S+ \S+ (\d+)/m.exec(localDescription?.sdp ?? '')?.[1]);
    });
  }

  async video(mid: string): Promise<Inbound> {
    const found = (await this.inbound()).find((entry) => entry.mid === mid);
    assert.ok(found, `${this.name} receives nothing in section ${mid}`);
    return found;
  }

  async heardEnergy(): Promise<number> {
    return (await this.inbound()).reduce((sum, { totalAudioEnergy }) => sum + totalAudioEnergy, 0);
  }

  /** Waits until `measure` satisfies `good`, and returns what it was then. */
  async until<T>(what: string, measure: () => Promise<T>, good: (value: T) => boolean, timeoutMs = 30_000): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const value = await measure();
      if (good(value)) return value;
      if (Date.now() > deadline) assert.fail(`${this.name}: not in time: ${what}; last ${JSON.stringify(value)}`);
      await this.page.waitForTimeout(50);
    }
  }

  /** Waits for a span of `ms` without a packet of the slot's video. */
  async getsNoPicture(mid: string, ms: number): Promise<void> {
    let before = -1;
    await this.until(
      `${ms} ms without a packet of video`,
      async () => {
        await this.page.waitForTimeout(ms); // the span that is measured
        const now = (await this.video(mid)).packetsReceived;
        const risen = now - before;
        before = now;
        return risen;
      },
      (risen) => risen === 0,
    );
  }

  /** `count` more frames of this section are decoded. */
  async framesGoOn(mid: string, count = 5): Promise<void> {
    const before = (await this.video(mid)).framesDecoded;
    await this.until(
      `frames go on in ${mid}`,
      async () => (await this.video(mid)).framesDecoded,
      (frames) => frames >= before + count,
    );
  }

  /** Waits until the sum of heard energy has grown: somebody is audible. */
  async hearsSomebody(): Promise<void> {
    const before = await this.heardEnergy();
    await this.until('audio energy rises', () => this.heardEnergy(), (now) => now > before * 1.001 + 1e-4); // prettier-ignore
  }

  /** Mean colour of the upper left part of a picture, where a scene shows its wall; and a sum of all pixels. */
  pixels(name: string, source: 'camera' | 'screen' = 'camera'): Promise<{ wall: number[]; sum: number }> {
    return this.tile(name, source)
      .locator('video.slot')
      .evaluate((element) => {
        const video = element as HTMLVideoElement;
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [64, 36];
        const context = canvas.getContext('2d')!;
        context.drawImage(video, 0, 0, 64, 36);
        const { data } = context.getImageData(0, 0, 64, 36);
        const wall = [0, 0, 0];
        let sum = 0;
        for (let pixel = 0; pixel < 64 * 36; pixel += 1) {
          const corner = pixel % 64 < 8 && pixel < 64 * 6;
          for (let channel = 0; channel < 3; channel += 1) {
            const value = data[pixel * 4 + channel]!;
            sum += value * (1 + (pixel % 97));
            if (corner) wall[channel]! += value / 48;
          }
        }
        return { wall: wall.map(Math.round), sum };
      });
  }

  /** Width and height of the screen as it is sent. */
  screenSize(): Promise<number[]> {
    return this.until(
      'the screen is sent',
      () =>
        this.page.evaluate(async () => {
          const pc = probe.connections.findLast((pc) => pc.connectionState !== 'closed')!;
          const sent = [...(await pc.getStats()).values()].filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video');
          const screen = sent.find(({ rid }) => rid === undefined); // the camera has layers
          return [screen?.frameWidth ?? 0, screen?.frameHeight ?? 0];
        }),
      ([width]) => width! > 0,
    );
  }

  /** The page believes for a moment that ICE has failed. */
  pretendIceFailed(): Promise<void> {
    return this.page.evaluate(() => {
      const pc = probe.connections.at(-1)!;
      for (const state of ['iceConnectionState', 'connectionState']) {
        Object.defineProperty(pc, state, { get: () => 'failed', configurable: true });
      }
      pc.dispatchEvent(new Event('iceconnectionstatechange'));
      Reflect.deleteProperty(pc, 'iceConnectionState');
      Reflect.deleteProperty(pc, 'connectionState');
    });
  }

  iceState(): Promise<string> {
    return this.page.evaluate(() => probe.connections.at(-1)!.iceConnectionState);
  }

  /** The ICE user name fragments in use: ours and the server's. */
  iceUfrags(): Promise<string[]> {
    return this.page.evaluate(() => {
      const { currentLocalDescription, currentRemoteDescription } = probe.connections.at(-1)!;
      return [currentLocalDescription, currentRemoteDescription].map(
        (description) => /a=ice-ufrag:(\S+)/.exec(description?.sdp ?? '')?.[1] ?? '',
      );
    });
  }

  /** The page believes to be (or not to be) in a tab behind others. */
  setHidden(hidden: boolean): Promise<void> {
    return this.page.evaluate((hidden) => {
      Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  }

  /** RTCPeerConnections that the page has made since it was loaded. */
  connectionCount(): Promise<number> {
    return this.page.evaluate(() => probe.connections.length);
  }

  /** The transport under the media: the protocol of the candidates in use. */
  protocol(): Promise<string> {
    return this.page.evaluate(async () => {
      const pc = probe.connections.findLast((pc) => pc.connectionState !== 'closed')!;
      const stats = await pc.getStats();
      const entries = [...stats.values()];
      const transport = entries.find(({ type }) => type === 'transport');
      const pair = stats.get(transport?.selectedCandidatePairId);
      return `${stats.get(pair?.localCandidateId)?.protocol}/${stats.get(pair?.remoteCandidateId)?.protocol}`;
    });
  }

  firstFrameMs(): Promise<number> {
    return this.page.evaluate(() => (probe.firstFrameAt ? probe.firstFrameAt - probe.clickedAt : 0));
  }
}
