import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { errorText, t } from '../i18n/index.ts';
import { rememberEncoding } from '../media/camera.ts';
import type { LocalMedia } from '../media/local.ts';
import { type FailureCode, failureCode, failureOf } from '../net/failure.ts';
import type { MeetingInfo } from '../protocol/index.ts';
import { presenceIn, recall, remember } from '../room/memory.ts';
import { Session } from '../room/session.ts';
import { loadMeetingPage } from './later.ts';
import { passcodes } from './passcodes.ts';
import { prepare, type Prepared, TokenAhead } from './prepared.ts';

interface Props {
  code: string;
  info: MeetingInfo | null;
  local: LocalMedia;
  onToken: (token: string) => void;
  onJoined: (session: Session) => void;
}

export function JoinForm({ code, info, local, onToken, onJoined }: Props) {
  const presence = useMemo(() => presenceIn(code), []);
  const name = useSignal(recall('name') ?? '');
  const passcode = useSignal(presence?.passcode ?? passcodes.get(code) ?? '');
  const busy = useSignal(false);
  const failure = useSignal<FailureCode | 'name' | null>(null);
  const retryAfter = useSignal<number | undefined>(undefined);
  const prepared = useRef<Prepared | null>(null);
  const ahead = useMemo(() => new TokenAhead(code), []);

  useEffect(() => {
    // Who is quick has clicked already.
    if (!busy.peek()) prepared.current = prepare();
    return () => prepared.current?.connection.close();
  }, []);

  // The offer is made anew if the server wishes the camera otherwise than at the last visit.
  useEffect(() => {
    if (!info || !rememberEncoding(info.camera) || !prepared.current) return;
    prepared.current.connection.close();
    prepared.current = prepare();
  }, [info === null]);

  useEffect(() => {
    if (!info || info.passcode_required) return;
    const timer = setTimeout(() => busy.value || ahead.fetch(name.value.trim(), onToken), 400);
    return () => clearTimeout(timer);
  }, [info === null, name.value]);

  // Who takes a moment to fill this in does not wait for the rest.
  useEffect(() => {
    if (info && !busy.peek()) void loadMeetingPage();
  }, [info === null]);

  // This tab was in the meeting before it was reloaded: straight back in, once the devices are open.
  useEffect(() => {
    if (presence && local.ready.value && name.value && !busy.value && !failure.value) void join();
  }, [local.ready.value]);

  async function join(event?: Event): Promise<void> {
    event?.preventDefault();
    const chosen = name.value.trim();
    if (!chosen) {
      failure.value = 'name';
      return;
    }
    busy.value = true;
    failure.value = null;
    remember('name', chosen);
    const { connection, offered } = prepared.current ?? prepare();
    prepared.current = null; // the session owns it now
    const secret = passcode.value.trim();
    const entry = { code, name: chosen, ...(secret ? { passcode: secret } : {}) };
    const session = new Session(entry, local, connection, offered, secret ? undefined : ahead.take(chosen));
    try {
      await session.join();
      if (secret) passcodes.set(code, secret);
      onJoined(session);
    } catch (error) {
      retryAfter.value = failureOf(error).retryAfter;
      failure.value = failureCode(error);
      busy.value = false;
      prepared.current = prepare();
    }
  }

  const wrong = failure.value === 'passcode_wrong' || failure.value === 'passcode_required';
  return (
    <form onSubmit={join}>
      <label>
        <span>{t('join.name')}</span>
        <input
          name="name"
          dir="auto"
          maxLength={60}
          autocomplete="name"
          placeholder={t('join.name.hint')}
          value={name}
          aria-invalid={failure.value === 'name'}
          onInput={(event) => (name.value = event.currentTarget.value)}
        />
      </label>
      {(info?.passcode_required || wrong) && (
        <label>
          <span>{t('join.passcode')}</span>
          <input
            name="passcode"
            type="password"
            maxLength={32}
            autocomplete="off"
            value={passcode}
            aria-invalid={wrong}
            onInput={(event) => (passcode.value = event.currentTarget.value)}
          />
        </label>
      )}
      {failure.value && (
        <p class="error" role="alert">
          {failure.value === 'name' ? t('join.name.missing') : errorText(failure.value, retryAfter.value)}
        </p>
      )}
      <button class="primary" id="join" disabled={busy.value}>
        {t(busy.value ? 'join.joining' : 'join.button')}
      </button>
    </form>
  );
}
