import { computed, signal } from '@preact/signals';
import type { FailureCode } from '../net/failure.ts';
import type { EndReason } from '../protocol/index.ts';
import { recall, remember } from '../room/memory.ts';
import { en } from './en.ts';
import { zh } from './zh.ts';

export type Key = keyof typeof en;
export type Words = Record<Key, string>;
export type Language = 'en' | 'zh';

// A code or a reason that the protocol has and the words lack does not compile here.
const errorKey = (code: FailureCode): Key => `error.${code}`;
const endKey = (reason: EndReason): Key => `end.${reason}`;

export const languages: Record<Language, Words> = { en, zh };

export function preferred(wishes: readonly string[], remembered: string | null): Language {
  if (remembered === 'en' || remembered === 'zh') return remembered;
  for (const wish of wishes) {
    if (/^zh\b/i.test(wish)) return 'zh';
    if (/^en\b/i.test(wish)) return 'en';
  }
  return 'en';
}

export const language = signal<Language>(preferred(globalThis.navigator?.languages ?? [], recall('language')));
const words = computed(() => languages[language.value]);

export function setLanguage(next: Language): void {
  language.value = next;
  remember('language', next);
}

/** The words for `key`, with `{name}` and the like filled in. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return fill(words.value[key], values);
}

/** For names and texts of others inside of sentences: FSI … PDI, so that they cannot turn the sentence around. */
export function isolated(text: string): string {
  return `\u2068${text}\u2069`;
}

export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** `retryAfter`: seconds, where the server names a time. */
export function errorText(code: FailureCode, retryAfter?: number): string {
  const key = errorKey(code);
  const text = t(key in en ? key : 'error.internal'); // a newer server may know more codes
  return retryAfter === undefined ? text : `${text} ${t('error.wait', { n: retryAfter })}`;
}

export function endText(reason: EndReason | FailureCode): string {
  const key = endKey(reason as EndReason);
  return key in en ? t(key) : errorText(reason as FailureCode);
}
