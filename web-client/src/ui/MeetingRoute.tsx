import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { LocalMedia } from '../media/local.ts';
import type { Session } from '../room/session.ts';
import { EndPage } from './EndPage.tsx';
import { JoinPage } from './JoinPage.tsx';
import { loadMeetingPage, meetingPage } from './later.ts';

/** For media to come before what shows it is loaded; then that has to say what is wrong. */
const SOUND_FIRST_MS = 5_000;

/** /m/{code}: the join page, then the meeting, then its end. */
export function MeetingRoute({ code }: { code: string }) {
  const session = useSignal<Session | null>(null);
  const local = useMemo(() => new LocalMedia(), []);

  useEffect(() => {
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
    const timer = setTimeout(loadMeetingPage, session.value.mediaUp.value ? 0 : SOUND_FIRST_MS);
    return () => clearTimeout(timer);
  });

  const current = session.value;
  const MeetingPage = meetingPage.value;
  if (!current || !MeetingPage) return <JoinPage code={code} local={local} onJoined={(joined) => (session.value = joined)} />;
  if (current.phase.value === 'ended') {
    return <EndPage ending={current.ending.value ?? 'left'} onRejoin={() => (session.value = null)} />;
  }
  return <MeetingPage session={current} local={local} />;
}
