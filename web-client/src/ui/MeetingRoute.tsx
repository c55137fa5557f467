import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { LocalMedia } from '../media/local.ts';
import type { Session } from '../room/session.ts';
import { EndPage } from './EndPage.tsx';
import { JoinPage } from './JoinPage.tsx';
import { MeetingPage } from './MeetingPage.tsx';

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

  const current = session.value;
  if (!current) return <JoinPage code={code} local={local} onJoined={(joined) => (session.value = joined)} />;
  if (current.phase.value === 'ended') {
    return <EndPage ending={current.ending.value ?? 'left'} onRejoin={() => (session.value = null)} />;
  }
  return <MeetingPage session={current} local={local} />;
}
