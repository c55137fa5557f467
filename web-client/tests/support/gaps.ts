import type { Person } from './person.ts';

declare const probe: { connections: RTCPeerConnection[] };

export interface Gaps {
  /** Longest time in which no sound that was sent was played, over all connections of the page. */
  audioMs: number;
  /** Longest time between two pictures, over all slots that show one. */
  videoMs: number;
}

/** Watches what comes in, over all connections of the page together, until the returned function is called. */
export async function watchGaps(person: Person): Promise<() => Promise<Gaps>> {
  await person.page.evaluate(() => {
    const watch = { stop: false, audioMs: 0, videoMs: 0, done: Promise.resolve() };
    (window as unknown as { gapWatch: typeof watch }).gapWatch = watch;
    const look = async () => {
      let packets = 0;
      let frames = 0;
      for (const pc of probe.connections) {
        if (pc.connectionState === 'closed') continue;
        for (const entry of (await pc.getStats()).values()) {
          if (entry.type !== 'inbound-rtp') continue;
          if (entry.kind === 'audio') packets += entry.packetsReceived;
          else frames += entry.framesDecoded ?? 0;
        }
      }
      return { packets, frames };
    };
    watch.done = (async () => {
      let before = await look();
      let heard = performance.now();
      let seen = heard;
      while (!watch.stop) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        const now = await look();
        const at = performance.now();
        // A connection that is closed takes its counts with it: a change is a sign of life only upwards.
        if (now.packets > before.packets) heard = at;
        if (now.frames > before.frames) seen = at;
        watch.audioMs = Math.max(watch.audioMs, at - heard);
        watch.videoMs = Math.max(watch.videoMs, at - seen);
        before = now;
      }
    })();
  });
  return () =>
    person.page.evaluate(async () => {
      const { gapWatch } = window as unknown as {
        gapWatch: { stop: boolean; audioMs: number; videoMs: number; done: Promise<void> };
      };
      gapWatch.stop = true;
      await gapWatch.done;
      return { audioMs: Math.round(gapWatch.audioMs), videoMs: Math.round(gapWatch.videoMs) };
    });
}
