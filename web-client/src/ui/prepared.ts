import { rememberedEncoding } from '../media/camera.ts';
import { MediaConnection } from '../media/connection.ts';
import { joinToken } from '../net/api.ts';

/** As many pictures of others as a page can show at once. */
export const phone = matchMedia('(max-width: 640px), (max-height: 480px)');

export function slotCount(): number {
  return phone.matches ? 4 : 9;
}

/** A connection with its offer made before the click on "join", so that the click is one round trip. */
export interface Prepared {
  connection: MediaConnection;
  offered: Promise<string>;
}

export function prepare(): Prepared {
  const connection = new MediaConnection(slotCount(), rememberedEncoding());
  return { connection, offered: connection.offer() };
}

/** Tokens are good for a while: one for the name as it stands is fetched ahead. */
const TOKEN_FRESH_MS = 30_000;

export class TokenAhead {
  readonly #code: string;
  #name = '';
  #at = -Infinity;
  #token: string | undefined;

  constructor(code: string) {
    this.#code = code;
  }

  fetch(name: string, onToken: (token: string) => void): void {
    if (!name || (name === this.#name && this.#isFresh())) return;
    this.#name = name;
    this.#at = performance.now();
    this.#token = undefined;
    joinToken(this.#code, { name }).then(
      (token) => {
        if (name === this.#name) this.#token = token;
        onToken(token);
      },
      () => (this.#at = -Infinity),
    );
  }

  /** What has come; nobody waits for it, as a name is enough to join. */
  take(name: string): string | undefined {
    return name === this.#name && this.#isFresh() ? this.#token : undefined;
  }

  #isFresh(): boolean {
    return performance.now() - this.#at < TOKEN_FRESH_MS;
  }
}
