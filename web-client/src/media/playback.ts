import { signal } from '@preact/signals';

/** What the sound of another connection may take to begin before the one before it ends. */
const HANDOVER_MS = 100;

/** Plays the audio slots. Browsers may want a touch first: `blocked` says so. */
export class Playback {
  readonly blocked = signal(false);
  readonly #elements: HTMLAudioElement[];

  /** `before` is heard until this one is. */
  constructor(streams: readonly MediaStream[], speaker: string, before?: Playback) {
    this.#elements = streams.map((stream) => {
      const element = new Audio();
      element.srcObject = stream;
      return element;
    });
    this.setSpeaker(speaker);
    const given = new Promise((resolve) => setTimeout(resolve, HANDOVER_MS));
    void Promise.race([this.play(), given]).then(() => before?.close());
  }

  async play(): Promise<void> {
    try {
      await Promise.all(this.#elements.map((element) => element.play()));
      this.blocked.value = false;
    } catch (error) {
      if ((error as DOMException).name === 'NotAllowedError') this.blocked.value = true;
    }
  }

  setSpeaker(deviceId: string): void {
    for (const element of this.#elements) {
      if ('setSinkId' in element) element.setSinkId(deviceId).catch(() => undefined);
    }
  }

  close(): void {
    for (const element of this.#elements) {
      element.pause();
      element.srcObject = null;
    }
  }
}
