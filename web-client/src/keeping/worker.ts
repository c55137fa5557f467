/**
 * The service worker: keeps the page, so that a later visit has the link for its join alone. Browsers ask the server for
 * this file after each visit's page was opened and never take it from a cache; another version of the page makes it another
 * file, which brings that version for the next visit. So whatever is wrong with a page, it stays for one visit.
 */
import { keptFor } from './files.ts';

interface ExtendableEvent extends Event {
  waitUntil(work: Promise<unknown>): void;
}

interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

interface InstallEvent extends ExtendableEvent {
  /** Where the browser knows static routing. */
  addRoutes?(routes: object): Promise<void>;
}

declare const self: EventTarget & { registration: ServiceWorkerRegistration; skipWaiting(): Promise<void> };

/** The page's files with their hashes (Subresource Integrity), and a name for all of them together: the build knows. */
declare const FILES: Readonly<Record<string, string>>;
declare const VERSION: string;

const PREFIX = 'page-';
const CACHE = PREFIX + VERSION;
/** The page that has just been opened, of the version before, goes first. */
const UPDATE_AFTER_MS = 20_000;

self.addEventListener('install', (event) => {
  const install = event as InstallEvent;
  install.waitUntil(Promise.all([keep(), routePast(install)]).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => (event as ExtendableEvent).waitUntil(forgetOthers()));

self.addEventListener('fetch', (event) => {
  const { request, respondWith } = event as FetchEvent;
  const path = keptFor(request, location.origin, (path) => path in FILES);
  if (path !== undefined) respondWith.call(event, answer(path, request));
});

/** All or nothing: a file that is not of this version fails the installation, and the version before stays. */
async function keep(): Promise<void> {
  if (self.registration.active) await new Promise((resolve) => setTimeout(resolve, UPDATE_AFTER_MS));
  const cache = await caches.open(CACHE);
  for (const [path, integrity] of Object.entries(FILES)) {
    const response = await fetch(path, { integrity });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    await cache.put(path, response);
  }
}

/** Requests to the API need not wake this worker. */
async function routePast(event: InstallEvent): Promise<void> {
  await event.addRoutes?.({ condition: { urlPattern: '/api/*' }, source: 'network' });
}

async function forgetOthers(): Promise<void> {
  const others = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(others.map((name) => caches.delete(name)));
}

async function answer(path: string, request: Request): Promise<Response> {
  const kept = await caches.match(path, { cacheName: CACHE, ignoreVary: true });
  return kept ?? fetch(request);
}
