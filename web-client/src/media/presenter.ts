import type { StillTaken } from '../protocol/index.ts';
import { SlideWatch } from '../room/slide_watch.ts';
import { StillCamera } from './still_camera.ts';

/** How often what one shows is looked at, while stills of it are wanted. */
const LOOK_MS = 1_000;
/** Sharp enough; of a weak link the server says what it takes in time. */
const MAX_BYTES = 30_000;
/** Until it has. */
const FIRST_BYTES = 20_000;

/** Sends stills of one's own tracks for as long as somebody wants them. */
export class Presenter {
  readonly #send: (track: number, image: Blob) => Promise<StillTaken>;
  readonly #running = new Map<number, { camera: StillCamera; stop: () => void }>();

  /** `send` rejects where the server does not take the picture. */
  constructor(send: (track: number, image: Blob) => Promise<StillTaken>) {
    this.#send = send;
  }

  /** The tracks of which stills are wanted, and what they show. */
  set(wanted: ReadonlyMap<number, MediaStreamTrack>): void {
    for (const [id, { camera, stop }] of this.#running) {
      if (wanted.get(id) !== camera.track) stop();
    }
    for (const [id, track] of wanted) {
      if (!this.#running.has(id)) this.#start(id, track);
    }
  }

  #start(id: number, track: MediaStreamTrack): void {
    const camera = new StillCamera(track);
    const watch = new SlideWatch();
    let busy = false;
    let bytes = FIRST_BYTES;
    const look = async () => {
      const frame = await camera.frame();
      if (!frame) return;
      const now = performance.now();
      const grey = camera.grey(frame);
      if (watch.isDue(now, grey)) {
        watch.onSent(now, grey);
        const image = await camera.picture(frame, bytes);
        if (image && this.#running.has(id)) {
          const taken = await this.#send(id, image).catch(() => watch.onLost());
          if (taken) bytes = Math.min(taken.next_bytes, MAX_BYTES);
        }
      }
      frame.close();
    };
    // The first look is not at once: most who join lack their pictures for an instant only.
    const timer = setInterval(() => {
      if (busy) return;
      busy = true;
      void look().finally(() => (busy = false));
    }, LOOK_MS);
    const stop = () => {
      clearInterval(timer);
      camera.close();
      this.#running.delete(id);
    };
    this.#running.set(id, { camera, stop });
  }

  close(): void {
    this.set(new Map());
  }
}
