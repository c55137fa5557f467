import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { quality } from '../media/quality.ts';
import type { Session } from '../room/session.ts';
import { CopyLink } from './CopyLink.tsx';
import { Foreign } from './Foreign.tsx';
import { Logo } from './Icon.tsx';
import { QualityBars, qualityText } from './QualityBars.tsx';
import { spaced } from './route.ts';
import { link } from './useLink.ts';

export function TopBar({ session }: { session: Session }) {
  const room = session.room.value!;
  const { title, code } = room.meeting;
  return (
    <header class="topbar">
      <Logo />
      <h1>{title === undefined ? t('meeting.untitled') : <Foreign text={title} />}</h1>
      <span class="code">{spaced(code)}</span>
      <CopyLink code={code} compact />
      <span class="spring" />
      <LinkQuality session={session} />
      <Elapsed since={session.joinedAt} />
    </header>
  );
}

function Elapsed({ since }: { since: number }) {
  const now = useSignal(performance.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = performance.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <time class="elapsed" title={t('meeting.elapsed')}>
      {clock(Math.max(0, now.value - since))}
    </time>
  );
}

export function clock(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}

function LinkQuality({ session }: { session: Session }) {
  const stats = link.value;
  if (!stats || session.mediaUp.value === null) return null;
  // The server sees what this side cannot: what it was to be sent and was not.
  const served = session.room.value?.quality.get(session.room.value.self);
  const own = session.mediaUp.value ? quality(stats) : 'poor';
  const word = served && (own === 'good' || served.grade === 'poor') ? served.grade : own;
  const percent = (share: number) => Math.round(share * 100);
  const details = t('quality.details', {
    rtt: stats.rttMs ?? '–',
    in: percent(stats.lossIn),
    out: percent(stats.lossOut),
  });
  const words = served?.grade === word ? qualityText(served) : t(`quality.${word}`);
  return <QualityBars grade={word} label={`${words} (${details})`} />;
}
