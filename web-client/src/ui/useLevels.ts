import { type Signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { heardLevels } from '../media/levels.ts';
import type { Session } from '../room/session.ts';

const EVERY_MS = 120;

/** How loud each other participant is, by id. */
export function useLevels(session: Session): Signal<ReadonlyMap<string, number>> {
  const levels = useSignal<ReadonlyMap<string, number>>(new Map());
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.hidden) return;
      const heard = heardLevels(session.connection.peek().audioSlots.map((slot) => slot.transceiver.receiver));
      if (heard.size === 0 && levels.peek().size === 0) return;
      const next = new Map<string, number>();
      for (const { id, tracks } of session.room.peek()?.participants ?? []) {
        const level = Math.max(0, ...tracks.map((track) => heard.get(track.id) ?? 0));
        if (level > 0) next.set(id, level);
      }
      levels.value = next;
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [session]);
  return levels;
}
