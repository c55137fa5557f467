import { endText, t } from '../i18n/index.ts';
import type { Ending } from '../room/session.ts';
import { Header } from './Header.tsx';
import { go } from './route.ts';

export function EndPage({ ending, onRejoin }: { ending: Ending; onRejoin: () => void }) {
  const over = ending === 'meeting_ended' || ending === 'meeting_not_found';
  return (
    <div class="page">
      <Header />
      <main class="notice">
        <div role="status">
          <h1>{endText(ending)}</h1>
        </div>
        <div class="actions">
          {!over && (
            <button type="button" class="primary" onClick={onRejoin}>
              {t('end.rejoin')}
            </button>
          )}
          <button type="button" class="secondary" onClick={() => go('/')}>
            {t('end.home')}
          </button>
        </div>
      </main>
    </div>
  );
}
