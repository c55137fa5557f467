/** When a WebSocket that does not answer is given up. */

/** Without media nothing speaks for the connection. */
const ALONE_MS = 8_000;
/**
 * While media flows the server can be reached, and what is on its way only waits behind losses: after an outage TCP
 * repeats it no sooner than after as long again.
 */
const WITH_MEDIA_MS = 30_000;

/** `askedForMs`: since it was asked for a sign of life; `patienceMs`: of who has reason to believe that it is dead. */
export function isGivenUp(askedForMs: number, hasMedia: boolean, patienceMs?: number): boolean {
  return askedForMs >= (patienceMs ?? (hasMedia ? WITH_MEDIA_MS : ALONE_MS));
}
