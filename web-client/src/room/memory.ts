/** What the page remembers from visit to visit, or from reload to reload of one tab. */

function store(kind: 'localStorage' | 'sessionStorage'): Storage | undefined {
  try {
    return globalThis[kind];
  } catch {
    return undefined; // storage may be forbidden
  }
}

export function recall(key: string): string | null {
  return store('localStorage')?.getItem(`tianqiao.${key}`) ?? null;
}

export function remember(key: string, value: string): void {
  try {
    store('localStorage')?.setItem(`tianqiao.${key}`, value);
  } catch {
    // full or forbidden: then it is forgotten
  }
}

const PRESENT = 'tianqiao.present';

interface Presence {
  code: string;
  passcode?: string;
}

/** Notes that this tab is in a meeting, so that a reload goes straight back into it. */
export function notePresence(presence: Presence | null): void {
  try {
    if (presence) store('sessionStorage')?.setItem(PRESENT, JSON.stringify(presence));
    else store('sessionStorage')?.removeItem(PRESENT);
  } catch {
    // then a reload shows the join page
  }
}

export function presenceIn(code: string): Presence | undefined {
  try {
    const noted = JSON.parse(store('sessionStorage')?.getItem(PRESENT) ?? 'null') as Presence | null;
    return noted?.code === code ? noted : undefined;
  } catch {
    return undefined;
  }
}
