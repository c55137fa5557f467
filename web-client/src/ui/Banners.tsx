import { t } from '../i18n/index.ts';
import type { Session } from '../room/session.ts';
import { Icon } from './Icon.tsx';

/** What the user should know about the connection, above the pictures. */
export function Banners({ session }: { session: Session }) {
  const playback = session.playback.value;
  return (
    <div class="banners">
      <div role="status">{statusOf(session)}</div>
      {session.screen.value && (
        <p class="banner sharing">
          <Icon name="screen" />
          {t('meeting.sharing')}
          <button type="button" onClick={() => void session.stopScreen()}>
            {t('control.share.stop')}
          </button>
        </p>
      )}
      {session.upload.value !== 'all' && (
        <p class="banner" role="status">
          {t(session.upload.value === 'small' ? 'meeting.upload.small' : 'meeting.upload.none')}
        </p>
      )}
      {playback?.blocked.value && (
        <button type="button" class="banner tap" onClick={() => void playback.play()}>
          <Icon name="sound" />
          {t('meeting.tap')}
        </button>
      )}
    </div>
  );
}

function statusOf(session: Session) {
  const key =
    session.phase.value === 'reconnecting'
      ? 'meeting.reconnecting'
      : session.mediaUp.value === false
        ? 'meeting.media.down'
        : session.mediaUp.value === null
          ? 'meeting.media.connecting'
          : null;
  return (
    key && (
      <p class={`banner ${key === 'meeting.media.connecting' ? 'late' : 'trouble'}`}>
        <span class="spinner" />
        {t(key)}
      </p>
    )
  );
}
