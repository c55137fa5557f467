/** How this side's camera is sent, by the server's wish and what the browser can. */

import type { CameraCodec, CameraEncoding } from '../protocol/index.ts';
import { recall, remember } from '../room/memory.ts';
import { CAMERA, CAMERA_EXTENSIONS, canEncode, keepExtensions, preferCodecs, SVC_EXTENSIONS } from './codecs.ts';
import { encodings, type OwnLayer, type Scaling } from './demand.ts';

/** What every browser sends. */
export const SIMPLEST: CameraEncoding = { codec: 'vp8' };

export interface Camera {
  readonly transceiver: RTCRtpTransceiver;
  readonly layers: readonly OwnLayer[];
}

const SIMULCAST: (OwnLayer & RTCRtpEncodingParameters)[] = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];

/** All layers in one stream. Its smallest alone is what a weak link carries in simulcast. */
function scalable(scalabilityMode: string): OwnLayer {
  const rates = scalabilityMode.slice(2, 4);
  return {
    rid: '',
    maxBitrate: 2_000_000,
    keepsBitrate: !scalabilityMode.startsWith('L1'),
    scalable: {
      all: { scalabilityMode, scaleResolutionDownBy: 1 },
      small: { scalabilityMode: `L1${rates}`, scaleResolutionDownBy: 4, maxBitrate: SIMULCAST[0]!.maxBitrate },
    },
  };
}

export function addCamera(pc: RTCPeerConnection, wish: CameraEncoding): Camera {
  const { codec, scalability_mode: mode } = canEncode(wish.codec) ? wish : SIMPLEST;
  return (mode && addScalable(pc, codec, mode)) || addSimulcast(pc, mode ? SIMPLEST.codec : codec);
}

/** `undefined`: the browser does not make these layers. */
function addScalable(pc: RTCPeerConnection, codec: CameraCodec, scalabilityMode: string): Camera | undefined {
  const layers = [scalable(scalabilityMode)];
  let transceiver: RTCRtpTransceiver;
  try {
    const sendEncodings = encodings(layers, undefined, 'all');
    transceiver = pc.addTransceiver('video', { direction: 'sendonly', sendEncodings });
  } catch {
    return undefined;
  }
  const encoding: Partial<Scaling> | undefined = transceiver.sender.getParameters().encodings[0];
  if (encoding?.scalabilityMode !== scalabilityMode) {
    transceiver.stop(); // before it was ever offered, so it never is
    return undefined;
  }
  preferCodecs(transceiver, 'video', CAMERA[codec]);
  keepExtensions(transceiver, SVC_EXTENSIONS);
  return { transceiver, layers };
}

function addSimulcast(pc: RTCPeerConnection, codec: CameraCodec): Camera {
  const add = (scalabilityMode?: string) =>
    pc.addTransceiver('video', {
      direction: 'sendonly',
      sendEncodings: SIMULCAST.map((layer) => (scalabilityMode ? { ...layer, scalabilityMode } : layer)),
    });
  const transceiver = addScaled(['L1T3', 'L1T2'], add);
  preferCodecs(transceiver, 'video', CAMERA[codec]);
  keepExtensions(transceiver, CAMERA_EXTENSIONS);
  return { transceiver, layers: SIMULCAST };
}

/** With the first of `modes` that the browser knows. Of three temporal layers the lowest takes two fifths of the bit rate, of two three. */
function addScaled(modes: readonly string[], add: (mode?: string) => RTCRtpTransceiver): RTCRtpTransceiver {
  for (const mode of modes) {
    try {
      return add(mode);
    } catch {
      // The next one.
    }
  }
  return add();
}

const REMEMBERED = 'camera.encoding';

/** What the server wished last, so that a visit makes the right offer before it is told. */
export function rememberedEncoding(): CameraEncoding {
  try {
    return (JSON.parse(recall(REMEMBERED) ?? 'null') as CameraEncoding | null) ?? SIMPLEST;
  } catch {
    return SIMPLEST;
  }
}

/** Whether it is another one than was known. */
export function rememberEncoding(wish: CameraEncoding): boolean {
  const before = rememberedEncoding();
  remember(REMEMBERED, JSON.stringify(wish));
  return wish.codec !== before.codec || wish.scalability_mode !== before.scalability_mode;
}
