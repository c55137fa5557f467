import type { SlotView, TrackSource } from '../protocol/index.ts';

/** A picture that the page wants to show. */
export interface Wanted {
  participant: string;
  source: TrackSource;
  /** Physical pixels; 0: keep the slot, but pause it. */
  height: number;
}

export function keyOf({ participant, source }: Pick<Wanted, 'participant' | 'source'>): string {
  return `${participant} ${source}`;
}

/**
 * Which slot shows which picture: a picture stays in its slot as long as it is wanted, new ones take
 * free slots in the order of `wanted`; what finds no slot is not shown.
 */
export function assignSlots(
  wanted: readonly Wanted[],
  mids: readonly string[],
  before: ReadonlyMap<string, string>,
): Map<string, string> {
  const shown = new Map<string, string>();
  const free = new Set(mids);
  for (const key of wanted.slice(0, mids.length).map(keyOf)) {
    const mid = before.get(key);
    if (mid !== undefined && free.delete(mid)) shown.set(key, mid);
  }
  for (const key of wanted.map(keyOf)) {
    const [mid] = free;
    if (mid === undefined) break;
    if (shown.has(key)) continue;
    free.delete(mid);
    shown.set(key, mid);
  }
  return shown;
}

/** The `viewport` message: every slot, the unused ones empty. */
export function slotViews(
  wanted: readonly Wanted[],
  mids: readonly string[],
  assigned: ReadonlyMap<string, string>,
): SlotView[] {
  const byMid = new Map(wanted.map((picture) => [assigned.get(keyOf(picture)), picture]));
  return mids.map((mid) => {
    const picture = byMid.get(mid);
    if (!picture) return { mid, show: 'nobody', height: 0 };
    const { participant, source, height } = picture;
    return { mid, show: 'source', participant, source, height };
  });
}
