import type { ErrorCode } from '../protocol/index.ts';

/** What can go wrong between the page and the server: the server's codes, or no way to it. */
export type FailureCode = ErrorCode | 'network';

export class Failure extends Error {
  readonly code: FailureCode;

  constructor(code: FailureCode) {
    super(code);
    this.code = code;
  }
}

export function failureCode(error: unknown): FailureCode {
  return error instanceof Failure ? error.code : 'internal';
}
