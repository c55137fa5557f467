import { signal } from '@preact/signals';

export const path = signal(location.pathname);

addEventListener('popstate', () => (path.value = location.pathname));

export function go(to: string): void {
  history.pushState(null, '', to);
  path.value = location.pathname;
}

export function meetingPath(code: string): string {
  return `/m/${encodeURIComponent(code)}`;
}

/** The nine digits of a meeting in what somebody typed or pasted: a number, or a link. */
export function codeIn(text: string): string | undefined {
  const linked = /\/m\/([A-Za-z0-9_-]+)/.exec(text)?.[1];
  if (linked) return linked;
  const digits = text.replace(/[\s-]/g, '');
  return /^\d{9}$/.test(digits) ? digits : undefined;
}

export function spaced(code: string): string {
  return /^\d{9}$/.test(code) ? code.replace(/(\d{3})(?=\d)/g, '$1\u2009') : code;
}
