import { language, setLanguage, t } from '../i18n/index.ts';
import { Logo } from './Icon.tsx';
import { go } from './route.ts';

/** Head of the start and join pages. */
export function Header() {
  return (
    <header class="head">
      <a
        class="brand"
        href="/"
        onClick={(event) => {
          event.preventDefault();
          go('/');
        }}
      >
        <Logo />
        <span>
          Tianqiao <span lang="zh-CN">天桥</span>
        </span>
      </a>
      <LanguageSwitch />
    </header>
  );
}

export function LanguageSwitch() {
  const next = language.value === 'en' ? 'zh' : 'en';
  return (
    <button type="button" class="link" lang={next === 'zh' ? 'zh-CN' : 'en'} onClick={() => setLanguage(next)}>
      {t('app.language')}
    </button>
  );
}
