/** Which requests are answered by what is kept. */

/** Where the page is kept. It has one document, at whatever address it is opened. */
export const PAGE = '/';

export interface Asked {
  method: string;
  mode: string;
  url: string;
}

/** The kept file that answers a request to `origin`; `undefined`: that is for the server, as all of the API is. */
export function keptFor({ method, mode, url }: Asked, origin: string, isKept: (path: string) => boolean): string | undefined {
  const { origin: asked, pathname } = new URL(url);
  if (method !== 'GET' || asked !== origin) return undefined;
  if (mode === 'navigate') return pathname === PAGE || pathname.startsWith('/m/') ? PAGE : undefined;
  return pathname !== PAGE && isKept(pathname) ? pathname : undefined;
}
