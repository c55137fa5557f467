import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Page } from 'playwright-core';

/** What a relay lets through from the server to the page; the other way is free. */
export interface Narrows {
  /** Bits per second, headers included. */
  rate: number;
  /** Packets that would wait for longer are lost. */
  queueMs: number;
}

export interface Relay {
  /** `undefined`: all of it, at once. */
  narrows: Narrows | undefined;
  close(): void;
}

const HEADERS = 28;

/**
 * Puts a relay between a page and the server's UDP ports, before the page is opened: answers name the relay instead.
 */
export async function relayFor(page: Page): Promise<Relay> {
  const sockets: Socket[] = [];
  let isOpen = true;
  const bind = () => {
    const socket = createSocket('udp4');
    sockets.push(socket);
    return socket;
  };
  const ports = new Map<number, Promise<number>>();
  const relay: Relay = {
    narrows: undefined,
    close() {
      isOpen = false;
      sockets.forEach((socket) => socket.close());
    },
  };
  const open = async (port: number): Promise<number> => {
    const near = bind();
    /** One towards the server for each socket of the page. */
    const far = new Map<string, Socket>();
    let freeAt = 0;
    near.on('message', (data, { address, port: from }) => {
      const key = `${address}:${from}`;
      let socket = far.get(key);
      if (!socket) {
        far.set(key, (socket = bind()));
        socket.on('message', (back) => {
          const now = performance.now();
          const { rate = Infinity, queueMs = 0 } = relay.narrows ?? {};
          const begins = Math.max(now, rate === Infinity ? now : freeAt);
          if (begins - now > queueMs) return;
          freeAt = begins + ((back.length + HEADERS) * 8_000) / rate;
          if (rate === Infinity) near.send(back, from, address);
          else setTimeout(() => isOpen && near.send(back, from, address), freeAt - now);
        });
      }
      socket.send(data, port, '127.0.0.1');
    });
    near.bind(0);
    await once(near, 'listening');
    return near.address().port;
  };
  await page.exposeFunction('relayPort', (port: number) => {
    if (!ports.has(port)) ports.set(port, open(port));
    return ports.get(port)!;
  });
  await page.addInitScript(() => {
    type Set = (this: RTCPeerConnection, description: RTCSessionDescriptionInit) => Promise<void>;
    const set = RTCPeerConnection.prototype.setRemoteDescription as Set;
    RTCPeerConnection.prototype.setRemoteDescription = async function (description) {
      const relayed: string[] = [];
      for (const line of (description.sdp ?? '').split('\r\n')) {
        const candidate = /^(a=candidate:\S+ 1 udp \d+) \S+ (\d+) (.*)$/i.exec(line);
        if (candidate) {
          const port = await (globalThis as unknown as { relayPort(port: number): Promise<number> }).relayPort(Number(candidate[2]));
          relayed.push(`${candidate[1]} 127.0.0.1 ${port} ${candidate[3]}`);
        } else if (!line.startsWith('a=candidate:')) relayed.push(line);
      }
      return set.call(this, { type: description.type!, sdp: relayed.join('\r\n') });
    };
  });
  return relay;
}
