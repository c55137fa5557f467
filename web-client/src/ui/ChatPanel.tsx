import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { language, t } from '../i18n/index.ts';
import type { ChatLine } from '../protocol/index.ts';
import type { Session } from '../room/session.ts';
import { Foreign } from './Foreign.tsx';
import { Icon } from './Icon.tsx';
import { Panel } from './Panel.tsx';

const LONGEST = 2_000;

export function ChatPanel({ session, onClose }: { session: Session; onClose: () => void }) {
  const room = session.room.value!;
  const list = useRef<HTMLOListElement>(null);
  const newest = room.chat.at(-1)?.seq;
  useLayoutEffect(() => {
    if (list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [newest]);

  return (
    <Panel title={t('control.chat')} onClose={onClose}>
      <ol class="chat" ref={list} aria-live="polite">
        {(room.chat[0]?.seq ?? 1) > 1 && session.earlierChat.value && (
          <li class="empty">
            <button type="button" class="link" id="earlier" onClick={() => session.askEarlierChat()}>
              {t('chat.earlier')}
            </button>
          </li>
        )}
        {room.chat.length === 0 && <li class="empty">{t('chat.empty')}</li>}
        {room.chat.map((line, index) => (
          <Line key={line.seq} line={line} before={room.chat[index - 1]} own={line.from === room.self} />
        ))}
      </ol>
      <Composer onSend={(text) => session.sendChat(text)} />
    </Panel>
  );
}

/** Lines of one person within this time stand together. */
const TOGETHER_MS = 120_000;

function Line({ line, before, own }: { line: ChatLine; before: ChatLine | undefined; own: boolean }) {
  const follows = before?.from === line.from && line.at - before.at < TOGETHER_MS;
  const time = new Date(line.at);
  return (
    <li class={`${own ? 'own' : ''} ${follows ? 'follows' : ''}`}>
      {!follows && (
        <span class="by">
          {own ? t('meeting.you') : <Foreign text={line.name} />}
          <time dateTime={time.toISOString()}>
            {time.toLocaleTimeString(language.value, { hour: '2-digit', minute: '2-digit' })}
          </time>
        </span>
      )}
      <p dir="auto">{linked(line.text)}</p>
    </li>
  );
}

function linked(text: string) {
  return text.split(/(https?:\/\/[^\s<>"，。、）]+)/).map((part, index) =>
    index % 2 === 1 ? (
      <a key={index} href={part} target="_blank" rel="noopener noreferrer nofollow">
        {part}
      </a>
    ) : (
      part
    ),
  );
}

function Composer({ onSend }: { onSend: (text: string) => void }) {
  const text = useSignal('');
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus({ preventScroll: true }), []);

  function send(event?: Event): void {
    event?.preventDefault();
    const trimmed = text.value.trim();
    if (!trimmed) return;
    onSend(trimmed);
    text.value = '';
  }

  return (
    <form class="composer" onSubmit={send}>
      <textarea
        ref={field}
        name="message"
        dir="auto"
        rows={1}
        maxLength={LONGEST}
        aria-label={t('chat.input')}
        placeholder={t('chat.input')}
        value={text}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          // Enter also picks a word in Chinese input methods.
          if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) send(event);
        }}
      />
      <button class="plain" aria-label={t('chat.send')} disabled={!text.value.trim()}>
        <Icon name="send" />
      </button>
    </form>
  );
}
