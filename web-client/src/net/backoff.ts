/** Waiting times between attempts to reach the server again. */

const FIRST_MS = 300;
const MAX_MS = 8_000;

/**
 * Milliseconds to wait before attempt number `attempt` (from 0): doubling, and spread over the upper
 * half so that the clients of a restarted server do not come back all at once.
 */
export function backoff(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** attempt);
  return Math.round(ceiling * (0.5 + 0.5 * random()));
}
