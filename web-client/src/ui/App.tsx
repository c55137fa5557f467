import { useSignalEffect } from '@preact/signals';
import { language, t } from '../i18n/index.ts';
import { MeetingRoute } from './MeetingRoute.tsx';
import { path } from './route.ts';
import { StartPage } from './StartPage.tsx';

export function App() {
  useSignalEffect(() => {
    document.documentElement.lang = language.value === 'zh' ? 'zh-CN' : 'en';
    document.title = path.value.startsWith('/m/') ? `${t('meeting.untitled')} · Tianqiao` : 'Tianqiao';
  });
  const code = /^\/m\/([^/]+)\/?$/.exec(path.value)?.[1];
  return code ? <MeetingRoute key={code} code={decodeURIComponent(code)} /> : <StartPage />;
}
