import { signal } from '@preact/signals';
import type { ReceiveMode, SlotView } from '../protocol/index.ts';
import { recall, remember } from './memory.ts';
import { assignSlots, slotViews, type Wanted } from './viewport.ts';

/** A viewport that only changes in heights, as while a window is dragged, is sent this late. */
const RESIZE_DEBOUNCE_MS = 250;

/** Which pictures are wanted, in which slots they are, and what of it the server knows. */
export class Slots {
  /** Picture to slot, as last asked for. */
  readonly assigned = signal<ReadonlyMap<string, string>>(new Map());
  /** How much of it is wanted, also in the next meeting. */
  readonly mode = signal<ReceiveMode>(modeOf(recall('mode')));
  readonly #mids: () => string[];
  readonly #send: (slots: SlotView[], mode: ReceiveMode) => boolean;
  #wanted: readonly Wanted[] = [];
  #hidden = false;
  #sent = '';
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `send` returns whether the server was told. */
  constructor(mids: () => string[], send: (slots: SlotView[], mode: ReceiveMode) => boolean) {
    this.#mids = mids;
    this.#send = send;
  }

  /** The pictures on the page, most important first. */
  setWanted(wanted: readonly Wanted[]): void {
    const pictures = (list: readonly Wanted[]) => list.map((w) => w.participant + w.source).join();
    const onlyHeights = pictures(wanted) === pictures(this.#wanted);
    this.#wanted = wanted;
    clearTimeout(this.#timer);
    if (onlyHeights) this.#timer = setTimeout(() => this.tell(), RESIZE_DEBOUNCE_MS);
    else this.tell();
  }

  setMode(mode: ReceiveMode): void {
    this.mode.value = mode;
    remember('mode', mode);
    this.tell();
  }

  /** A hidden page keeps its slots but pauses them; voices go on. */
  setHidden(hidden: boolean): void {
    this.#hidden = hidden;
    this.tell();
  }

  /** A new session has other slots, and the server knows nothing of them. */
  startAnew(firstGuess: () => readonly Wanted[]): void {
    this.assigned.value = new Map();
    if (this.#wanted.length === 0) this.#wanted = firstGuess();
    this.forget();
  }

  /** The server may not know what it was told last. */
  forget(): void {
    this.#sent = '';
    this.tell();
  }

  views(): SlotView[] {
    const wanted = this.#hidden ? this.#wanted.map((picture) => ({ ...picture, height: 0 })) : this.#wanted;
    const mids = this.#mids();
    this.assigned.value = assignSlots(wanted, mids, this.assigned.peek());
    return slotViews(wanted, mids, this.assigned.peek());
  }

  tell(): void {
    const slots = this.views();
    const mode = this.mode.peek();
    const text = JSON.stringify([slots, mode]);
    if (text !== this.#sent && this.#send(slots, mode)) this.#sent = text;
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

function modeOf(text: string | null | undefined): ReceiveMode {
  return text === 'audio_only' || text === 'save_data' ? text : 'full';
}
