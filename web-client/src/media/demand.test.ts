import assert from 'node:assert/strict';
import { test } from 'node:test';
import { adjust, encodings, Limiter } from './demand.ts';

const CAMERA = [
  { rid: 'q', maxBitrate: 150_000 },
  { rid: 'h', maxBitrate: 500_000 },
  { rid: 'f', maxBitrate: 1_700_000 },
];
const SCREEN = [{ rid: '', maxBitrate: 2_500_000 }];
const ALL = { scalabilityMode: 'L3T3_KEY', scaleResolutionDownBy: 1 };
const SMALL = { scalabilityMode: 'L1T3', scaleResolutionDownBy: 4 };
const SVC = [{ rid: '', maxBitrate: 2_000_000, scalable: { all: ALL, small: { ...SMALL, maxBitrate: 150_000 } } }];

const brief = (result: ReturnType<typeof encodings>) => result.map(({ active, maxBitrate }) => (active ? maxBitrate / 1_000 : 0));

test('all is sent until it is said what is wanted, and then no more than that', () => {
  const wanted = [
    { rid: 'q', max_bitrate: 200_000 },
    { rid: 'f', max_bitrate: 700_000 },
  ];
  for (const [own, layers, upload, expected] of [
    [CAMERA, undefined, 'all', [150, 500, 1_700]],
    [CAMERA, wanted, 'all', [150, 0, 700]],
    [CAMERA, [], 'all', [0, 0, 0]],
    [CAMERA, [{ rid: 'x', max_bitrate: 1 }], 'all', [0, 0, 0]],
    [SCREEN, [{ rid: '', max_bitrate: 800_000 }], 'all', [800]],
    [SCREEN, [], 'all', [0]],
    // A weak link of our own.
    [CAMERA, undefined, 'small', [150, 0, 0]],
    [CAMERA, [{ rid: 'q', max_bitrate: 60_000 }], 'small', [60, 0, 0]],
    [CAMERA, [], 'small', [0, 0, 0]],
    [CAMERA, wanted, 'none', [0, 0, 0]],
    // All layers in one stream.
    [SVC, undefined, 'all', [2_000]],
    [SVC, [{ rid: '', max_bitrate: 700_000 }], 'all', [700]],
    [SVC, [{ rid: '', max_bitrate: 700_000 }], 'small', [150]],
    [SVC, [{ rid: '', max_bitrate: 60_000 }], 'small', [60]],
    [SVC, [], 'small', [0]],
    [SCREEN, undefined, 'small', [2_500]],
  ] as const) {
    assert.deepEqual(brief(encodings(own, layers, upload)), expected);
  }
});

test('encodings keep what is said of them elsewhere, and are set only where they differ', () => {
  const sent = [
    { rid: 'q', active: true, maxBitrate: 150_000, scaleResolutionDownBy: 4 },
    { rid: 'h', active: true, maxBitrate: 500_000, scaleResolutionDownBy: 2 },
  ];
  assert.equal(adjust(sent, encodings(CAMERA.slice(0, 2), undefined, 'all')), false);
  assert.equal(adjust(sent, encodings(CAMERA.slice(0, 2), [{ rid: 'q', max_bitrate: 80_000 }], 'all')), true);
  assert.deepEqual(sent, [
    { rid: 'q', active: true, maxBitrate: 80_000, scaleResolutionDownBy: 4 },
    { rid: 'h', active: false, maxBitrate: 500_000, scaleResolutionDownBy: 2 },
  ]);
});

test('over a weak link a stream with layers in it becomes its smallest, and is whole again after it', () => {
  const sent: RTCRtpEncodingParameters[] = [{ active: true, maxBitrate: 2_000_000, ...ALL }];
  const set = (...[wanted, upload]: [Parameters<typeof encodings>[1], Parameters<typeof encodings>[2]]) =>
    adjust(sent, encodings(SVC, wanted, upload));
  assert.equal(set(undefined, 'all'), false);
  assert.equal(set(undefined, 'small'), true);
  assert.deepEqual(sent, [{ active: true, maxBitrate: 150_000, ...SMALL }]);
  assert.equal(set(undefined, 'none'), true);
  assert.deepEqual(sent, [{ active: false, maxBitrate: 150_000, ...SMALL }]);
  assert.equal(set([{ rid: '', max_bitrate: 900_000 }], 'all'), true);
  assert.deepEqual(sent, [{ active: true, maxBitrate: 900_000, ...ALL }]);
});

test('a stream of several sizes is lowered for a weak link of our own alone', () => {
  const own = [{ ...SVC[0]!, keepsBitrate: true }];
  for (const [layers, upload, expected] of [
    [[{ rid: '', max_bitrate: 700_000 }], 'all', 2_000],
    [[{ rid: '', max_bitrate: 700_000 }], 'small', 150],
    [[{ rid: '', max_bitrate: 60_000 }], 'small', 60],
    [[], 'all', 0],
  ] as const) {
    assert.deepEqual(brief(encodings(own, layers, upload)), [expected]);
  }
});

test('the newest word is what counts, also where one was refused', async () => {
  let encodings: RTCRtpEncodingParameters[] = CAMERA.map(({ rid, maxBitrate }) => ({ rid, maxBitrate, active: true }));
  let refusals = 1;
  const sender = {
    getParameters: () => ({ encodings: structuredClone(encodings) }),
    async setParameters(parameters: RTCRtpSendParameters) {
      await Promise.resolve();
      if (refusals-- > 0) throw new DOMException('', 'InvalidModificationError');
      encodings = parameters.encodings;
    },
  } as unknown as RTCRtpSender;
  const limiter = new Limiter(sender, CAMERA);
  limiter.set([], 'all');
  limiter.set([{ rid: 'h', max_bitrate: 300_000 }], 'all');
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(encodings.map(({ active }) => active), [false, true, false]);
  assert.equal(encodings[1]!.maxBitrate, 300_000);
});
