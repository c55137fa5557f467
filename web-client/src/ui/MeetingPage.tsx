import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { keepPage } from '../keeping/register.ts';
import '../styles/meeting.css';
import '../styles/panel.css';
import type { LocalMedia } from '../media/local.ts';
import type { Session } from '../room/session.ts';
import { Banners } from './Banners.tsx';
import { ChatPanel } from './ChatPanel.tsx';
import { Controls } from './Controls.tsx';
import { PeoplePanel } from './PeoplePanel.tsx';
import { SettingsPanel } from './SettingsPanel.tsx';
import { useShortcuts } from './shortcuts.ts';
import { Stage } from './Stage.tsx';
import { Toasts } from './Toasts.tsx';
import { TopBar } from './TopBar.tsx';
import { toggleScreen } from './share.ts';

export type PanelName = 'chat' | 'people' | 'settings';

/** From the first media on it has the link for itself for so long. */
const KEEP_AFTER_MS = 3_000;

export function MeetingPage({ session, local }: { session: Session; local: LocalMedia }) {
  const panel = useSignal<PanelName | null>(null);
  /** The last chat line seen. */
  const seen = useSignal(session.room.peek()?.chat.at(-1)?.seq ?? 0);

  useEffect(() => {
    const onVisibility = () => session.slots.setHidden(document.hidden);
    document.addEventListener('visibilitychange', onVisibility);
    onVisibility();
    return () => document.removeEventListener('visibilitychange', onVisibility);
  }, [session]);

  useSignalEffect(() => {
    if (!session.mediaUp.value) return;
    const timer = setTimeout(keepPage, KEEP_AFTER_MS);
    return () => clearTimeout(timer);
  });

  const toggle = (name: PanelName) => (panel.value = panel.value === name ? null : name);
  const close = () => (panel.value = null);

  useShortcuts({
    m: () => void local.setMicrophone(!(local.microphone.on.value && local.microphone.track.value)),
    v: () => void local.setCamera(!local.camera.track.value),
    s: () => void toggleScreen(session),
    c: () => toggle('chat'),
    p: () => toggle('people'),
    Escape: close,
  });

  const room = session.room.value;
  if (!room) return null;
  const latest = room.chat.at(-1)?.seq ?? 0;
  if (panel.value === 'chat' && seen.peek() !== latest) seen.value = latest;
  const unread = room.chat.filter(({ seq, from }) => seq > seen.value && from !== room.self).length;

  return (
    <div class={`meeting ${panel.value ? 'with-panel' : ''}`}>
      <TopBar session={session} />
      <main class="stage-area">
        <Stage session={session} local={local} />
        <Banners session={session} />
        <Toasts session={session} quiet={panel.value === 'chat'} />
      </main>
      {panel.value === 'chat' && <ChatPanel session={session} onClose={close} />}
      {panel.value === 'people' && <PeoplePanel session={session} onClose={close} />}
      {panel.value === 'settings' && <SettingsPanel session={session} local={local} onClose={close} />}
      <Controls session={session} local={local} panel={panel.value} unread={unread} onPanel={toggle} />
    </div>
  );
}
