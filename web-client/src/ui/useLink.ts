import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type LinkStats, LinkWatch } from '../media/quality.ts';
import type { Session } from '../room/session.ts';

const EVERY_MS = 2_000;

/** The connection as last looked at. */
export const link = signal<LinkStats | null>(null);
/** Sections whose picture stood still between the last two looks. */
const frozen = signal<ReadonlySet<string>>(new Set());

/** Keeps `link` and `frozen` up to date while a meeting is shown. */
export function useLink(session: Session) {
  useEffect(() => {
    let watch = new LinkWatch();
    let watched = session.connection.peek();
    const timer = setInterval(async () => {
      const connection = session.connection.peek();
      if (watched !== connection) [watched, watch] = [connection, new LinkWatch()];
      try {
        const seen = await watch.look(connection.pc);
        link.value = seen.link;
        session.onLink(seen.link);
        session.onUpload(seen.upload);
        if (String([...seen.frozen]) !== String([...frozen.peek()])) frozen.value = seen.frozen;
      } catch {
        // closed meanwhile
      }
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [session]);
  return { frozen };
}
