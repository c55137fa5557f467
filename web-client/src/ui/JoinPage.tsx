import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { errorText, t } from '../i18n/index.ts';
import type { LocalMedia } from '../media/local.ts';
import { meetingInfo } from '../net/api.ts';
import { type Failure, failureOf } from '../net/failure.ts';
import type { MeetingInfo } from '../protocol/index.ts';
import type { Session } from '../room/session.ts';
import { CopyLink } from './CopyLink.tsx';
import { Foreign } from './Foreign.tsx';
import { Header } from './Header.tsx';
import { JoinForm } from './JoinForm.tsx';
import { Preview } from './Preview.tsx';
import { go, spaced } from './route.ts';

interface Props {
  code: string;
  local: LocalMedia;
  onJoined: (session: Session) => void;
}

export function JoinPage({ code, local, onJoined }: Props) {
  const info = useSignal<MeetingInfo | null>(null);
  const failure = useSignal<Failure | null>(null);

  async function look(): Promise<void> {
    failure.value = null;
    try {
      info.value = await meetingInfo(code);
    } catch (error) {
      failure.value = failureOf(error);
    }
  }

  useEffect(() => {
    void look();
    void local.start();
  }, []);

  /** Who may come in may know what the meeting is called. */
  async function onToken(token: string): Promise<void> {
    info.value = await meetingInfo(code, token).catch(() => info.value);
  }

  if (failure.value) return <NoMeeting failure={failure.value} onRetry={look} />;
  const { title, participants } = info.value ?? {};
  return (
    <div class="page">
      <Header />
      <main class="join">
        <Preview local={local} />
        <section class="join-side">
          <h1>{title === undefined ? t('join.title') : <Foreign text={title} />}</h1>
          <p class="quiet" role="status">
            {!info.value ? t('join.checking') : participants !== undefined && presentText(participants)}
          </p>
          <JoinForm code={code} info={info.value} local={local} onToken={onToken} onJoined={onJoined} />
          <div class="share">
            <span class="quiet">
              {t('join.share')} <span class="code">{spaced(code)}</span>
            </span>
            <CopyLink code={code} />
          </div>
        </section>
      </main>
    </div>
  );
}

function presentText(count: number): string {
  if (count === 0) return t('join.alone');
  return t(count === 1 ? 'join.present.one' : 'join.present', { n: count });
}

function NoMeeting({ failure, onRetry }: { failure: Failure; onRetry: () => void }) {
  const { code, retryAfter } = failure;
  const final = code === 'meeting_not_found' || code === 'meeting_ended';
  return (
    <div class="page">
      <Header />
      <main class="notice">
        <div role="alert">
          <h1>{errorText(code, retryAfter)}</h1>
        </div>
        <div class="actions">
          {!final && (
            <button type="button" class="primary" onClick={onRetry}>
              {t('join.retry')}
            </button>
          )}
          <button type="button" class={final ? 'primary' : 'secondary'} onClick={() => go('/')}>
            {t('join.back')}
          </button>
        </div>
      </main>
    </div>
  );
}
