import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, type BrowserServer, chromium, type Page } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
];

export interface BrowserOptions {
  /** A .y4m file that the fake camera shows. */
  camera?: string | undefined;
  /** Refuses UDP to WebRTC, as a strict network would. */
  tcpOnly?: boolean;
  locale?: string;
  viewport?: { width: number; height: number };
  /** Further ones of Chromium's. */
  flags?: readonly string[];
}

export interface Browser {
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

/** A Chromium process of its own, as for a person at a machine of their own. */
export async function launch(options: BrowserOptions = {}): Promise<Browser> {
  const { camera, tcpOnly, locale = 'en-US', viewport, flags = [] } = options;
  const profile = mkdtempSync(join(tmpdir(), 'tianqiao-browser-'));
  if (tcpOnly) refuseUdp(profile);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    args: [...FLAGS, ...flags, ...(camera ? [`--use-file-for-fake-video-capture=${camera}`] : [])],
    permissions: ['camera', 'microphone'],
    locale,
    viewport: viewport ?? { width: 1280, height: 800 },
  });
  await prepare(context);
  return {
    newPage: () => context.newPage(),
    async close() {
      await context.close().catch(() => undefined);
      rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** One that can be killed like a machine that loses its power. */
export async function launchMortal(): Promise<Browser & { kill(): Promise<void> }> {
  const server: BrowserServer = await chromium.launchServer({ executablePath: CHROMIUM, args: FLAGS });
  const browser = await chromium.connect(server.wsEndpoint());
  const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
  await prepare(context);
  return {
    newPage: () => context.newPage(),
    kill: () => server.kill(),
    close: () => server.close(),
  };
}

/** A Chromium preference, not a flag, decides which ways WebRTC may take. */
function refuseUdp(profile: string): void {
  mkdirSync(join(profile, 'Default'), { recursive: true });
  const preferences = { webrtc: { ip_handling_policy: 'disable_non_proxied_udp' } };
  writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify(preferences));
}

/** Lets tests see the RTCPeerConnections of the page, and when its first picture came. */
async function prepare(context: BrowserContext): Promise<void> {
  context.setDefaultTimeout(15_000);
  // The compiler wraps named functions in this, also those that are sent to the page.
  await context.addInitScript('globalThis.__name ??= (value) => value');
  await context.addInitScript(() => {
    const probe = { connections: [] as RTCPeerConnection[], clickedAt: 0, firstFrameAt: 0 };
    Object.assign(globalThis, { probe });
    globalThis.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(configuration?: RTCConfiguration) {
        super(configuration);
        probe.connections.push(this);
      }
    };
    addEventListener('click', ({ target }) => {
      if ((target as Element).closest('#join')) probe.clickedAt = performance.now();
    }, true); // prettier-ignore
    new MutationObserver((changes) => {
      for (const node of changes.flatMap((change) => [...change.addedNodes])) {
        if (!(node instanceof Element)) continue;
        for (const video of [node, ...node.querySelectorAll('video.slot')]) {
          if (!(video instanceof HTMLVideoElement) || !video.classList.contains('slot')) continue;
          video.requestVideoFrameCallback(() => (probe.firstFrameAt ||= performance.now()));
        }
      }
    }).observe(document, { childList: true, subtree: true });
  });
}
