import { useSignal } from '@preact/signals';
import { errorText, t } from '../i18n/index.ts';
import { createMeeting } from '../net/api.ts';
import { failureOf } from '../net/failure.ts';
import { recall, remember } from '../room/memory.ts';
import { Bridge } from './Bridge.tsx';
import { Header } from './Header.tsx';
import { passcodes } from './passcodes.ts';
import { codeIn, go, meetingPath } from './route.ts';

export function StartPage() {
  return (
    <div class="page">
      <Header />
      <main class="start">
        <div class="hero">
          <h1>
            Tianqiao <span lang="zh-CN">天桥</span>
          </h1>
          <p>{t('app.tagline')}</p>
          <Bridge />
        </div>
        <div class="cards">
          <NewMeeting />
          <EnterCode />
        </div>
      </main>
    </div>
  );
}

function NewMeeting() {
  const title = useSignal('');
  const passcode = useSignal('');
  const busy = useSignal(false);
  const error = useSignal('');
  const key = useSignal(recall('key') ?? '');
  const needsKey = useSignal(false);

  async function create(event: Event): Promise<void> {
    event.preventDefault();
    busy.value = true;
    error.value = '';
    const named = title.value.trim();
    const secret = passcode.value.trim();
    try {
      const meeting = await createMeeting(
        {
          ...(named ? { title: named } : {}),
          ...(secret ? { passcode: secret } : {}),
        },
        key.value.trim() || undefined,
      );
      if (needsKey.value) remember('key', key.value.trim());
      if (secret) passcodes.set(meeting.code, secret);
      go(meetingPath(meeting.code));
    } catch (failure) {
      const { code, retryAfter } = failureOf(failure);
      if (code === 'api_key_required') needsKey.value = true;
      error.value = errorText(code, retryAfter);
    }
    busy.value = false;
  }

  return (
    <form class="card" onSubmit={create}>
      <h2>{t('start.new')}</h2>
      <label>
        <span>
          {t('start.title')} <small>{t('start.optional')}</small>
        </span>
        <input
          name="title"
          dir="auto"
          maxLength={80}
          autocomplete="off"
          placeholder={t('start.title.hint')}
          value={title}
          onInput={(event) => (title.value = event.currentTarget.value)}
        />
      </label>
      <label>
        <span>
          {t('start.passcode')} <small>{t('start.optional')}</small>
        </span>
        <input
          name="passcode"
          maxLength={32}
          autocomplete="off"
          value={passcode}
          onInput={(event) => (passcode.value = event.currentTarget.value)}
        />
      </label>
      {needsKey.value && (
        <label>
          <span>{t('start.key')}</span>
          <input
            name="key"
            type="password"
            autocomplete="off"
            value={key}
            onInput={(event) => (key.value = event.currentTarget.value)}
          />
        </label>
      )}
      {error.value && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      <button class="primary" disabled={busy.value}>
        {t('start.create')}
      </button>
    </form>
  );
}

function EnterCode() {
  const text = useSignal('');
  const error = useSignal(false);

  function enter(event: Event): void {
    event.preventDefault();
    const code = codeIn(text.value);
    error.value = code === undefined;
    if (code !== undefined) go(meetingPath(code));
  }

  return (
    <form class="card" onSubmit={enter}>
      <h2>{t('start.join')}</h2>
      <label>
        <span>{t('start.code')}</span>
        <input
          name="code"
          inputMode="text"
          autocomplete="off"
          placeholder={t('start.code.hint')}
          value={text}
          aria-invalid={error.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            error.value = false;
          }}
        />
      </label>
      {error.value && (
        <p class="error" role="alert">
          {t('start.code.bad')}
        </p>
      )}
      <button class="secondary">{t('start.go')}</button>
    </form>
  );
}
