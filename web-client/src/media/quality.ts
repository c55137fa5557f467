import type { UploadStats } from './upload.ts';

/** Connection quality in three words, from the browser's statistics. */

export type Quality = 'good' | 'fair' | 'poor';

export interface LinkStats {
  /** Round trip to the server in milliseconds. */
  rttMs: number | undefined;
  /** Share of packets lost on the way to us since the last look, 0 to 1. */
  lossIn: number;
  /** Share of our packets that the server reports lost, 0 to 1. */
  lossOut: number;
  /** Bytes received and sent since the last look. */
  bytes: number;
}

export function quality({ rttMs = 0, lossIn, lossOut }: Pick<LinkStats, 'rttMs' | 'lossIn' | 'lossOut'>): Quality {
  const loss = Math.max(lossIn, lossOut);
  if (loss > 0.1 || rttMs > 600) return 'poor';
  if (loss > 0.03 || rttMs > 300) return 'fair';
  return 'good';
}

interface Totals {
  received: number;
  lost: number;
}

/** Looks at a connection every few seconds and tells what happened in between. */
export class LinkWatch {
  #before: Totals = { received: 0, lost: 0 };
  #bytes = 0;
  #frames = new Map<string, number>();

  async look(pc: RTCPeerConnection): Promise<{ link: LinkStats; upload: UploadStats; frozen: Set<string> }> {
    const upload: UploadStats = { available: undefined, limited: false, lossOut: 0, pictures: picturesOf(pc) };
    const link: LinkStats = { rttMs: undefined, lossIn: 0, lossOut: 0, bytes: 0 };
    let bytes = 0;
    const totals: Totals = { received: 0, lost: 0 };
    const frozen = new Set<string>();
    for (const entry of (await pc.getStats()).values() as Iterable<Record<string, unknown> & { type: string }>) {
      if (entry.type === 'candidate-pair') bytes += Number(entry.bytesReceived ?? 0) + Number(entry.bytesSent ?? 0);
      if (entry.type === 'candidate-pair' && entry.nominated && typeof entry.currentRoundTripTime === 'number') {
        link.rttMs = Math.round(entry.currentRoundTripTime * 1000);
        if (typeof entry.availableOutgoingBitrate === 'number') upload.available = entry.availableOutgoingBitrate;
      } else if (entry.type === 'remote-inbound-rtp') {
        link.lossOut = Math.max(link.lossOut, Number(entry.fractionLost ?? 0));
        if (entry.kind === 'audio') upload.lossOut = Math.max(upload.lossOut, Number(entry.fractionLost ?? 0));
      } else if (entry.type === 'outbound-rtp' && entry.active !== false) {
        upload.limited ||= entry.qualityLimitationReason === 'bandwidth';
      } else if (entry.type === 'inbound-rtp') {
        totals.received += Number(entry.packetsReceived ?? 0);
        totals.lost += Math.max(0, Number(entry.packetsLost ?? 0));
        if (entry.kind === 'video') {
          const mid = String(entry.mid);
          const frames = Number(entry.framesDecoded ?? 0);
          if (this.#frames.get(mid) === frames) frozen.add(mid);
          this.#frames.set(mid, frames);
        }
      }
    }
    const received = totals.received - this.#before.received;
    const lost = Math.max(0, totals.lost - this.#before.lost);
    if (received + lost > 0) link.lossIn = lost / (received + lost);
    this.#before = totals;
    // A pair that is given up takes its count with it.
    link.bytes = Math.max(0, bytes - this.#bytes);
    this.#bytes = bytes;
    return { link, upload, frozen };
  }
}

/** Bits per second of the pictures that are to be sent, at most. */
function picturesOf(pc: RTCPeerConnection): number {
  const cameras = pc.getSenders().filter(({ track }) => track?.kind === 'video');
  const encodings = cameras.flatMap((sender) => sender.getParameters().encodings);
  return encodings.reduce((sum, { active = true, maxBitrate = Infinity }) => sum + (active ? maxBitrate : 0), 0);
}
