import type { CreatedMeeting, CreateMeeting, CreateToken, ErrorBody, JoinToken, MeetingInfo } from '../protocol/index.ts';
import { Failure } from './failure.ts';

async function request<T>(method: string, path: string, body?: object): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`/api/v1/${path}`, {
      method,
      headers: body ? { 'content-type': 'application/json' } : {},
      body: body ? JSON.stringify(body) : null,
    });
  } catch {
    throw new Failure('network');
  }
  const answer = (await response.json().catch(() => undefined)) as unknown;
  if (response.ok && answer !== undefined) return answer as T;
  throw new Failure((answer as ErrorBody | undefined)?.code ?? 'unavailable');
}

export function createMeeting(meeting: CreateMeeting): Promise<CreatedMeeting> {
  return request('POST', 'meetings', meeting);
}

export function meetingInfo(code: string): Promise<MeetingInfo> {
  return request('GET', `meetings/${encodeURIComponent(code)}`);
}

export async function joinToken(code: string, body: CreateToken): Promise<string> {
  const answer = await request<JoinToken>('POST', `meetings/${encodeURIComponent(code)}/tokens`, body);
  return answer.token;
}
