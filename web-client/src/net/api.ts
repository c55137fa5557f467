import {
  type CreatedMeeting,
  type CreateMeeting,
  type CreateToken,
  type ErrorBody,
  type JoinedMeeting,
  type JoinMeeting,
  type JoinToken,
  type MeetingInfo,
  PROOF_HEADER,
  type StillTaken,
} from '../protocol/index.ts';
import { Failure } from './failure.ts';
import { compress } from './frames.ts';

/** The price may rise while one works for it. */
const PROOFS_AT_MOST = 4;
/** Over the worst link an answer takes some seconds; one that was on its way when the network changed never comes. */
const ANSWER_TIMEOUT_MS = 20_000;

interface Request {
  body?: CreateMeeting | CreateToken | JoinMeeting;
  /** Where the server takes the body so, and it is worth it. */
  gzip?: boolean;
  /** Bearer token, or API key. */
  token?: string | undefined;
}

async function request<T>(method: string, path: string, request: Request = {}): Promise<T> {
  let proof: string | undefined;
  for (let proofs = 0; ; proofs += 1) {
    const { answer, refused } = await exchange<T>(method, path, request, proof);
    if (!refused) return answer;
    if (!refused.proof || proofs >= PROOFS_AT_MOST) throw new Failure(refused.code, refused.retry_after);
    const { solve } = await import('./proof.ts'); // hardly anybody needs it
    proof = await solve(refused.proof, request.body?.passcode ?? '');
  }
}

let onAnswered: () => void;
/** The server has answered once, so there is a connection to it, which a WebSocket can share instead of opening its own. */
export const answered = new Promise<void>((resolve) => (onAnswered = resolve));

type Exchange<T> = { answer: T; refused?: undefined } | { answer?: undefined; refused: ErrorBody };

async function exchange<T>(method: string, path: string, { body, gzip, token }: Request, proof?: string): Promise<Exchange<T>> {
  const json = body ? JSON.stringify(body) : null;
  const packed = gzip && json ? await compress(json, 'gzip') : undefined;
  let response: Response;
  try {
    response = await fetch(`/api/v1/${path}`, {
      method,
      headers: {
        ...(body && { 'content-type': 'application/json' }),
        ...(packed && { 'content-encoding': 'gzip' }),
        ...(token && { authorization: `Bearer ${token}` }),
        ...(proof && { [PROOF_HEADER]: proof }),
      },
      body: packed ?? json,
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
  } catch {
    throw new Failure('network');
  }
  onAnswered();
  const answer = (await response.json().catch(() => undefined)) as unknown;
  if (response.ok && answer !== undefined) return { answer: answer as T };
  return { refused: (answer as ErrorBody | undefined) ?? { code: 'unavailable', message: '' } };
}

/** `key`: an API key, on a server where not everybody makes meetings. */
export function createMeeting(meeting: CreateMeeting, key?: string): Promise<CreatedMeeting> {
  return request('POST', 'meetings', { body: meeting, token: key });
}

/** With a join token also title and number of participants. */
export function meetingInfo(code: string, token?: string): Promise<MeetingInfo> {
  return request('GET', `meetings/${encodeURIComponent(code)}`, { token });
}

function stillPath(meeting: string, track: number): string {
  return `/api/v1/meetings/${encodeURIComponent(meeting)}/stills/${track}`;
}

/** A still picture (WebP) of one's own track; `session` is the secret of the session. Says how large the next had better be. */
export async function putStill(meeting: string, track: number, session: string, image: Blob): Promise<StillTaken> {
  const headers = { authorization: `Bearer ${session}`, 'content-type': 'image/webp' };
  const response = await fetch(stillPath(meeting, track), { method: 'PUT', headers, body: image });
  const answer = (await response.json()) as StillTaken | ErrorBody;
  if ('code' in answer) throw new Failure(answer.code);
  return answer;
}

/** The latest still of a track that one of the session's slots shows, as it arrives. */
export async function still(meeting: string, track: number, session: string, signal: AbortSignal) {
  const headers = { authorization: `Bearer ${session}` };
  const response = await fetch(stillPath(meeting, track), { headers, signal });
  if (!response.ok || !response.body) throw new Failure('unavailable');
  const version = Number(response.headers.get('etag')?.replaceAll('"', ''));
  return { version, chunks: chunksOf(response.body) };
}

/** Browsers whose streams cannot be iterated are many. */
async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

export async function joinToken(code: string, body: CreateToken): Promise<string> {
  const answer = await request<JoinToken>('POST', `meetings/${encodeURIComponent(code)}/tokens`, { body });
  return answer.token;
}

/** In one round trip; a WebSocket takes the session up. */
export function joinMeeting(code: string, join: JoinMeeting): Promise<JoinedMeeting> {
  return request('POST', `meetings/${encodeURIComponent(code)}/join`, { body: join, gzip: true });
}
