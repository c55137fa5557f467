import type { ErrorCode } from '../protocol/index.ts';

/** What can go wrong between the page and the server: the server's codes, or no way to it. */
export type FailureCode = ErrorCode | 'network';

export class Failure extends Error {
  readonly code: FailureCode;
  /** Seconds after which it may work. */
  readonly retryAfter: number | undefined;

  constructor(code: FailureCode, retryAfter?: number) {
    super(code);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export function failureCode(error: unknown): FailureCode {
  return error instanceof Failure ? error.code : 'internal';
}

export function failureOf(error: unknown): Failure {
  return error instanceof Failure ? error : new Failure('internal');
}
