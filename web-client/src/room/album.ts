import { signal } from '@preact/signals';
import type { Still } from '../protocol/index.ts';

/** A still that is here. */
export interface Picture {
  readonly url: string;
  readonly version: number;
  /** When the server got it, in milliseconds since the epoch. */
  readonly at: number;
}

/** A still on its way: `chunks` come as they arrive. */
export type Fetch = (track: number, signal: AbortSignal) => Promise<{ version: number; chunks: AsyncIterable<Uint8Array> }>;

interface Coming {
  still: Still;
  /** Bytes so far. */
  received: number;
  abort: AbortController;
}

/** A picture that is here up to this part is waited for, although there is a newer one. */
const NEARLY = 0.25;
const RETRY_MS = 3_000;

/** Brings the stills of which the server tells, one after the other, the newest of each track only. */
export class Album {
  readonly pictures = signal<ReadonlyMap<number, Picture>>(new Map());
  readonly #fetch: Fetch;
  #known: ReadonlyMap<number, Still> = new Map();
  #coming: Coming | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(fetch: Fetch) {
    this.#fetch = fetch;
  }

  /** The latest stills by track; pictures of other tracks are forgotten. */
  set(stills: ReadonlyMap<number, Still>): void {
    this.#known = stills;
    const gone = [...this.pictures.peek().keys()].filter((track) => !stills.has(track));
    if (gone.length > 0) {
      const left = new Map(this.pictures.peek());
      for (const track of gone) {
        URL.revokeObjectURL(left.get(track)!.url);
        left.delete(track);
      }
      this.pictures.value = left;
    }
    const coming = this.#coming;
    if (coming) {
      const latest = stills.get(coming.still.track);
      const isOld = latest?.version !== coming.still.version;
      if (isOld && (!latest || coming.received < coming.still.size * NEARLY)) coming.abort.abort();
      return;
    }
    this.#next();
  }

  #next(): void {
    if (this.#closed || this.#coming) return;
    const pictures = this.pictures.peek();
    const still = [...this.#known.values()].find(({ track, version }) => (pictures.get(track)?.version ?? 0) < version);
    if (!still) return;
    clearTimeout(this.#timer);
    const coming = (this.#coming = { still, received: 0, abort: new AbortController() });
    this.#bring(coming).then(
      () => {
        this.#coming = undefined;
        this.#next();
      },
      () => {
        this.#coming = undefined;
        if (coming.abort.signal.aborted) this.#next();
        else this.#timer = setTimeout(() => this.#next(), RETRY_MS);
      },
    );
  }

  async #bring(coming: Coming): Promise<void> {
    const { still, abort } = coming;
    const { version, chunks } = await this.#fetch(still.track, abort.signal);
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const chunk of chunks) {
      parts.push(chunk as Uint8Array<ArrayBuffer>);
      coming.received += chunk.length;
    }
    const latest = this.#known.get(still.track);
    if (this.#closed || !latest) return;
    const old = this.pictures.peek().get(still.track);
    if (old) URL.revokeObjectURL(old.url);
    const url = URL.createObjectURL(new Blob(parts, { type: 'image/webp' }));
    // The server may have had a newer one by the time that it was asked.
    const at = version === latest.version ? latest.at : still.at;
    this.pictures.value = new Map(this.pictures.peek()).set(still.track, { url, version, at });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#coming?.abort.abort();
    for (const { url } of this.pictures.peek().values()) URL.revokeObjectURL(url);
    this.pictures.value = new Map();
  }
}
