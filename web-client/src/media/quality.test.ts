import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinkWatch, quality } from './quality.ts';

/** A connection of these statistics that sends these pictures. */
function connection(entries: object[], encodings: RTCRtpEncodingParameters[] = []): RTCPeerConnection {
  const pc = {
    getStats: async () => new Map(entries.map((entry, at) => [String(at), entry])),
    getSenders: () => [{ track: { kind: 'video' }, getParameters: () => ({ encodings }) }, { track: null }],
  };
  return pc as unknown as RTCPeerConnection;
}

test('three words', () => {
  assert.equal(quality({ rttMs: undefined, lossIn: 0, lossOut: 0 }), 'good');
  assert.equal(quality({ rttMs: 350, lossIn: 0, lossOut: 0.01 }), 'fair');
  assert.equal(quality({ rttMs: 40, lossIn: 0.05, lossOut: 0 }), 'fair');
  assert.equal(quality({ rttMs: 40, lossIn: 0, lossOut: 0.2 }), 'poor');
});

test('what is known of the way out', async () => {
  const entries = [
    { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.3, availableOutgoingBitrate: 90_000 },
    { type: 'remote-inbound-rtp', kind: 'audio', fractionLost: 0.05 },
    { type: 'remote-inbound-rtp', kind: 'video', fractionLost: 0.5 },
    { type: 'outbound-rtp', kind: 'video', active: false, qualityLimitationReason: 'bandwidth' },
  ];
  const pc = connection(entries, [{ maxBitrate: 150_000 }, { active: true, maxBitrate: 500_000 }, { active: false, maxBitrate: 1_700_000 }]);
  const { upload } = await new LinkWatch().look(pc);
  assert.deepEqual(upload, { available: 90_000, limited: false, lossOut: 0.05, pictures: 650_000 });
  entries[3]!.active = true;
  assert.equal((await new LinkWatch().look(pc)).upload.limited, true);
});

test('what happened between two looks', async () => {
  const inbound = { type: 'inbound-rtp', kind: 'video', mid: '6', packetsReceived: 90, packetsLost: 10, framesDecoded: 5 };
  const pair = { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.0421, bytesReceived: 5_000, bytesSent: 700 };
  const pc = connection([inbound, pair]);
  const watch = new LinkWatch();
  const first = await watch.look(pc);
  assert.deepEqual(first.link, { rttMs: 42, lossIn: 0.1, lossOut: 0, bytes: 5_700 });
  assert.equal(first.frozen.size, 0);
  inbound.packetsReceived = 190;
  pair.bytesSent = 900;
  const second = await watch.look(pc);
  assert.equal(second.link.lossIn, 0);
  assert.equal(second.link.bytes, 200);
  assert.deepEqual([...second.frozen], ['6']);
});
