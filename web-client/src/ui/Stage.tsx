import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import type { LocalMedia } from '../media/local.ts';
import type { Size } from '../room/layout.ts';
import { arrange } from '../room/order.ts';
import { sceneOf, wantedOf } from '../room/scene.ts';
import type { Session } from '../room/session.ts';
import { CopyLink } from './CopyLink.tsx';
import { Icon } from './Icon.tsx';
import { phone, slotCount } from './prepared.ts';
import { Tile } from './Tile.tsx';
import { useLevels } from './useLevels.ts';
import { useLink } from './useLink.ts';

/** The pictures: a grid, or one large with a filmstrip. */
export function Stage({ session, local }: { session: Session; local: LocalMedia }) {
  const element = useRef<HTMLDivElement>(null);
  const area = useSignal<Size>({ width: 0, height: 0 });
  const page = useSignal(0);
  const pinned = useSignal<string | null>(null);
  const order = useRef<string[]>([]);
  const spoke = useRef({ count: 0, last: new Map<string, number>() });
  const levels = useLevels(session);
  const { frozen } = useLink(session);

  useLayoutEffect(() => {
    const { current } = element;
    if (!current) return;
    const measure = () => (area.value = { width: current.clientWidth, height: current.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(current);
    measure();
    return () => observer.disconnect();
  }, []);

  const room = session.room.value!;
  const capacity = slotCount();
  for (const id of room.speakers.speaking) spoke.current.last.set(id, (spoke.current.count += 1));
  order.current = arrange(
    order.current,
    room.participants.filter(({ id }) => id !== room.self).map(({ id }) => id),
    room.speakers.speaking.filter((id) => id !== room.self),
    spoke.current.last,
    capacity,
  );
  const scene = sceneOf(room, order.current, {
    area: area.value,
    phone: phone.matches,
    capacity,
    page: page.value,
    pinned: pinned.value,
  });
  const wanted = wantedOf(room, scene, devicePixelRatio);
  const fingerprint = JSON.stringify(wanted);
  useEffect(() => {
    if (area.peek().width > 0) session.slots.setWanted(wanted);
  }, [fingerprint]);

  const alone = room.participants.length === 1;
  return (
    <div class={`stage ${alone ? 'alone' : ''}`} ref={element}>
      {scene.tiles.map((tile) => (
        <Tile
          key={tile.key}
          tile={tile}
          session={session}
          local={local}
          levels={levels}
          frozen={frozen}
          onPin={() => (pinned.value = tile.main ? null : tile.key)}
        />
      ))}
      {alone && (
        <div class="alone-card">
          <strong>{t('meeting.alone')}</strong>
          <span>{t('meeting.alone.hint')}</span>
          <CopyLink code={room.meeting.code} />
        </div>
      )}
      {scene.pages > 1 && (
        <nav class="pager">
          <button
            type="button"
            aria-label={t('control.previous')}
            disabled={scene.page === 0}
            onClick={() => (page.value = scene.page - 1)}
          >
            <Icon name="previous" />
          </button>
          <span>
            {scene.page + 1} / {scene.pages}
          </span>
          <button
            type="button"
            aria-label={t('control.next')}
            disabled={scene.page === scene.pages - 1}
            onClick={() => (page.value = scene.page + 1)}
          >
            <Icon name="next" />
          </button>
        </nav>
      )}
    </div>
  );
}
