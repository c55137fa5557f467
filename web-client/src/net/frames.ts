/**
 * Frames of the WebSocket: JSON as text, or the same as a raw DEFLATE stream (RFC 1951) in a binary
 * frame. An SDP shrinks to a tenth.
 */

/** Below this many characters a text frame is as good. */
const COMPRESS_FROM = 200;

async function pipe(data: BlobPart, through: ReadableWritablePair<Uint8Array, BufferSource>): Promise<ArrayBuffer> {
  return new Response(new Blob([data]).stream().pipeThrough(through)).arrayBuffer();
}

/** `undefined` in browsers that cannot, as older ones with "deflate-raw": text will do. */
export async function compress(text: string, format: CompressionFormat): Promise<ArrayBuffer | undefined> {
  let stream: CompressionStream;
  try {
    stream = new CompressionStream(format);
  } catch {
    return undefined;
  }
  return pipe(text, stream);
}

/** Text of a message that goes out as it is, or `undefined` if it is to be compressed. */
export function plainFrame(json: string): string | undefined {
  return json.length < COMPRESS_FROM ? json : undefined;
}

export async function compressFrame(json: string): Promise<string | ArrayBuffer> {
  return (await compress(json, 'deflate-raw')) ?? json;
}

export async function decodeFrame(data: string | ArrayBuffer): Promise<unknown> {
  if (typeof data === 'string') return JSON.parse(data);
  const inflated = await pipe(data, new DecompressionStream('deflate-raw'));
  return JSON.parse(new TextDecoder().decode(inflated));
}
