/**
 * Proof of work: where others behind the same address, or at the same meeting, have guessed too much, the server asks for
 * some before it looks at a request. A nonce is sought with which a SHA-256 begins with so many zero bits.
 */
import type { ProofOfWork } from '../protocol/index.ts';

/** The page stays alive: it works for so long at a time. */
const SLICE_MS = 12;
const HASHES_BETWEEN_LOOKS = 500;

const K = new Uint32Array(64);
const START = new Uint32Array(8);
for (let candidate = 2, found = 0; found < 64; candidate += 1) {
  let prime = true;
  for (let divisor = 2; divisor * divisor <= candidate; divisor += 1) if (candidate % divisor === 0) prime = false;
  if (!prime) continue;
  // The first 32 bits of the fractions of roots of primes (FIPS 180-4, 4.2.2 and 5.3.3).
  K[found] = fraction(Math.cbrt(candidate));
  if (found < 8) START[found] = fraction(Math.sqrt(candidate));
  found += 1;
}

function fraction(root: number): number {
  return (root - Math.floor(root)) * 2 ** 32;
}

const W = new Uint32Array(64);

/** One block of SHA-256: changes `state` by the 16 words at the beginning of [W]. */
function compress(state: Uint32Array): void {
  for (let i = 16; i < 64; i += 1) {
    const x = W[i - 15]!;
    const y = W[i - 2]!;
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    W[i] = W[i - 16]! + s0 + W[i - 7]! + s1;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let i = 0; i < 64; i += 1) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i]! + W[i]!) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  const after = [a, b, c, d, e, f, g, h];
  for (let i = 0; i < 8; i += 1) state[i] = state[i]! + after[i]!;
}

/** The hash as eight words. */
export function sha256(bytes: Uint8Array): Uint32Array {
  const blocks = Math.ceil((bytes.length + 9) / 64);
  const padded = new Uint8Array(blocks * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 4, bytes.length * 8);
  const state = START.slice();
  for (let block = 0; block < blocks; block += 1) {
    for (let i = 0; i < 16; i += 1) W[i] = view.getUint32(block * 64 + i * 4);
    compress(state);
  }
  return state;
}

function zeroBits(hash: Uint32Array): number {
  const first = hash.findIndex((word) => word !== 0);
  return first < 0 ? 256 : 32 * first + Math.clz32(hash[first]!);
}

/** What goes into the header: challenge and nonce. The passcode is that of the request, or empty. */
export async function solve({ challenge, bits }: ProofOfWork, passcode: string): Promise<string> {
  const encoder = new TextEncoder();
  let until = performance.now() + SLICE_MS;
  for (let number = 0; ; number += 1) {
    const nonce = number.toString(36);
    if (zeroBits(sha256(encoder.encode(`${challenge}.${nonce}.${passcode}`))) >= bits) return `${challenge}.${nonce}`;
    if (number % HASHES_BETWEEN_LOOKS === 0 && performance.now() > until) {
      await breath();
      until = performance.now() + SLICE_MS;
    }
  }
}

/** Lets the page do what waits; unlike a timer not slowed down in a tab behind others. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
