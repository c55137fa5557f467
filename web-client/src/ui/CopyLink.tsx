import { useSignal } from '@preact/signals';
import { t } from '../i18n/index.ts';
import { Icon } from './Icon.tsx';
import { meetingPath } from './route.ts';

export function meetingLink(code: string): string {
  return location.origin + meetingPath(code);
}

export function CopyLink({ code, compact = false }: { code: string; compact?: boolean }) {
  const copied = useSignal(false);

  async function copy(): Promise<void> {
    await copyText(meetingLink(code));
    copied.value = true;
    setTimeout(() => (copied.value = false), 2_000);
  }

  const label = t(copied.value ? 'control.copied' : 'control.copy');
  return (
    <button type="button" class={`chip ${compact ? 'compact' : ''}`} aria-label={label} title={label} onClick={copy}>
      <Icon name={copied.value ? 'check' : 'link'} />
      <span>{label}</span>
    </button>
  );
}

async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS there is no clipboard API; the old way needs a selected field.
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
}
