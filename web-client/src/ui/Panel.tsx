import type { ComponentChildren } from 'preact';
import { t } from '../i18n/index.ts';
import { Icon } from './Icon.tsx';

interface Props {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** What opens beside the stage; over it on a phone. */
export function Panel({ title, onClose, children }: Props) {
  return (
    <aside class="panel" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <button type="button" class="plain" aria-label={t('control.close')} onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      {children}
    </aside>
  );
}
