import { useSignal, useSignalEffect } from '@preact/signals';
import { errorText, isolated, t } from '../i18n/index.ts';
import type { Notice, Session } from '../room/session.ts';
import { Foreign } from './Foreign.tsx';

const SHOWN_MS = 4_500;
const AT_ONCE = 3;

interface Toast {
  id: number;
  notice: Notice;
}

let count = 0;

/** Who comes and goes, and what is written while the chat is closed. */
export function Toasts({ session, quiet }: { session: Session; quiet: boolean }) {
  const toasts = useSignal<Toast[]>([]);

  useSignalEffect(() => {
    const notice = session.notice.value;
    if (!notice) return;
    const id = (count += 1);
    toasts.value = [...toasts.peek(), { id, notice }].slice(-AT_ONCE);
    setTimeout(() => (toasts.value = toasts.peek().filter((toast) => toast.id !== id)), SHOWN_MS);
  });

  return (
    <div class="toasts" aria-live="polite">
      {toasts.value
        .filter(({ notice }) => !(quiet && notice.kind === 'chat'))
        .map(({ id, notice }) => (
          <p key={id} class="toast">
            {notice.kind === 'chat' && <b>
                <Foreign text={notice.name} />
              </b>}
            <bdi dir="auto">{textOf(notice)}</bdi>
          </p>
        ))}
    </div>
  );
}

function textOf(notice: Notice): string {
  switch (notice.kind) {
    case 'chat':
      return notice.text;
    case 'failure':
      return errorText(notice.code, notice.retryAfter);
    default:
      return t(`meeting.${notice.kind}`, { name: isolated(notice.name) });
  }
}
