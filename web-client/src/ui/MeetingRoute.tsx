import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { LocalMedia } from '../media/local.ts';
import type { Session } from '../room/session.ts';
import { EndPage } from './EndPage.tsx';
import { JoinPage } from './JoinPage.tsx';
import { cameQuickly, loadMeetingPage, meetingPage } from './later.ts';

/** Over a slow link what shows the meeting lets the first words pass; beside them it takes most of the link. */
const AFTER_SOUND_MS = 1_500;
/** Where media could flow and nobody says anything, it waits no longer than this … */
const AFTER_MEDIA_MS = 2_500;
/** … and where media does not come, somebody has to say so. */
const AFTER_JOIN_MS = 6_000;

/** /m/{code}: the join page, then the meeting, then its end. */
export function MeetingRoute({ code }: { code: string }) {
  const session = useSignal<Session | null>(null);
  const local = useMemo(() => new LocalMedia(), []);

  useEffect(() => {
    if (cameQuickly) void loadMeetingPage();
    const onPageHide = () => session.value?.leave(false);
    // Back from the browser's page cache: everything was closed, so start over.
    const onPageShow = (event: PageTransitionEvent) => event.persisted && location.reload();
    addEventListener('pagehide', onPageHide);
    addEventListener('pageshow', onPageShow);
    return () => {
      removeEventListener('pagehide', onPageHide);
      removeEventListener('pageshow', onPageShow);
      session.value?.leave(true);
      local.stop();
    };
  }, []);

  // The camera's light goes out with the meeting; the join page opens the devices again.
  useSignalEffect(() => {
    if (session.value?.phase.value === 'ended') local.stop();
  });

  useSignalEffect(() => {
    if (!session.value) return;
    const timers = [setTimeout(loadMeetingPage, session.value.mediaUp.value ? AFTER_MEDIA_MS : AFTER_JOIN_MS)];
    void session.value.connection.value.firstSound.then(() => timers.push(setTimeout(loadMeetingPage, AFTER_SOUND_MS)));
    return () => timers.forEach(clearTimeout);
  });

  const current = session.value;
  const MeetingPage = meetingPage.value;
  if (current?.phase.value === 'ended') {
    return <EndPage ending={current.ending.value ?? 'left'} onRejoin={() => (session.value = null)} />;
  }
  if (!current || !MeetingPage) return <JoinPage code={code} local={local} onJoined={(joined) => (session.value = joined)} />;
  return <MeetingPage session={current} local={local} />;
}
