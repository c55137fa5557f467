/** What the viewer's page is made to say of itself, again and again. */

export interface AudioStats {
  mid: string;
  packets: number;
  samples: number;
  concealed: number;
  silent_concealed: number;
  energy: number;
  /** Sum over `emitted` samples of their seconds in the jitter buffer. */
  delay: number;
  emitted: number;
}

export interface VideoStats {
  mid: string;
  /** Whose picture it is, as the page shows it. */
  name: string;
  source: string;
  frames: number;
  height: number;
  freezes: number;
  freeze_seconds: number;
  plis: number;
}

export interface Sample {
  type: 'sample';
  /** Milliseconds since the epoch. */
  at: number;
  /** RTCPeerConnections that this page has made. */
  connections: number;
  /** The page says that something is wrong. */
  trouble: string;
  audio: AudioStats[];
  video: VideoStats[];
  /** Sent by the page: RTP bytes of audio and video. */
  sent_audio: number;
  sent_video: number;
  /** The slide of the still picture that the page shows. */
  slide?: number | undefined;
  /** Bytes of the still that came last. */
  still_bytes: number;
}

export type Report =
  /** A navigation began. */
  | { type: 'opened'; at: number }
  /** The join page can be used. */
  | { type: 'ready'; at: number }
  | { type: 'joined'; at: number }
  /** The service worker has what a later visit needs. */
  | { type: 'kept'; at: number }
  | Sample;

export interface ProbeOptions {
  name: string;
  microphone: boolean;
  camera: boolean;
  /** Between two reports of figures. */
  everyMs?: number;
}

/** Of getStats: lib.dom knows but few. */
type Entry = Record<string, number | undefined> & { type: string; kind: 'audio' | 'video'; mid: string };

declare const tell: (report: Report) => void;

/** Runs in the page before its own scripts: joins as soon as it can, and reports by `tell`. */
export function probe({ name, microphone, camera, everyMs = 200 }: ProbeOptions): void {
  if (window.top !== window || !location.protocol.startsWith('http')) return;
  const PATIENCE_MS = 1_000;
  const now = () => performance.timeOrigin + performance.now();
  tell({ type: 'opened', at: performance.timeOrigin });
  localStorage.setItem('tianqiao.name', name);
  localStorage.setItem('tianqiao.audio.on', microphone ? 'yes' : 'no');
  localStorage.setItem('tianqiao.video.on', camera ? 'yes' : 'no');
  const { setParameters } = RTCRtpSender.prototype;
  RTCRtpSender.prototype.setParameters = function (parameters, ...rest) {
    const sent = parameters.encodings.map(({ rid = '', active = true, maxBitrate }) => `${rid} ${active ? maxBitrate : 'off'}`);
    console.debug(`sends ${this.track?.kind}: ${sent.join(', ')}`);
    return setParameters.call(this, parameters, ...rest);
  };
  const connections: RTCPeerConnection[] = [];
  globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      connections.push(this);
      const note = () => console.debug(`ICE ${this.iceConnectionState}, all ${this.connectionState}`);
      this.addEventListener('iceconnectionstatechange', note);
      this.addEventListener('connectionstatechange', note);
      this.addEventListener('signalingstatechange', () => console.debug(`offers ${this.signalingState}`));
      this.addEventListener('icecandidate', ({ candidate }) => console.debug(`candidate ${candidate?.candidate ?? 'none any more'}`));
    }
  };
  void navigator.serviceWorker?.ready.then(() => tell({ type: 'kept', at: now() }));
  new PerformanceObserver((list) => {
    for (const { name, startTime, duration } of list.getEntries()) {
      console.debug(`${new URL(name).pathname} from ${startTime.toFixed()} to ${(startTime + duration).toFixed()} ms`);
    }
  }).observe({ type: 'resource', buffered: true });
  let ready = false;
  let clicked = -Infinity;
  let joined = false;
  const look = () => {
    const button = document.querySelector<HTMLButtonElement>('#join');
    // Whose join failed tries again.
    if (button && !button.disabled && now() - clicked > PATIENCE_MS) {
      if (!ready) tell({ type: 'ready', at: now() });
      ready = true;
      clicked = now();
      button.click();
    }
    if (!joined && document.querySelector('.meeting')) {
      joined = true;
      tell({ type: 'joined', at: now() });
    }
  };
  const watch = () => new MutationObserver(look).observe(document, { childList: true, subtree: true, attributes: true });
  watch();

  const sample = async (): Promise<void> => {
    const pc = connections.findLast((pc) => pc.connectionState !== 'closed');
    if (!pc) return;
    const pictures = new Map(
      [...document.querySelectorAll<HTMLElement>('.tile[data-mid]')].map((tile) => [
        tile.dataset.mid,
        { name: tile.querySelector('.name')?.textContent?.replace(/[\u2068\u2069]/g, '') ?? '', source: tile.dataset.source ?? '' },
      ]),
    );
    const audio: AudioStats[] = [];
    const video: VideoStats[] = [];
    const sent = { audio: 0, video: 0 };
    const stats = await pc.getStats();
    for (const entry of stats.values() as Iterable<Entry>) {
      if (entry.type === 'outbound-rtp') sent[entry.kind] += entry.bytesSent ?? 0;
      if (entry.type !== 'inbound-rtp') continue;
      const { mid } = entry;
      if (entry.kind === 'audio') {
        audio.push({
          mid,
          packets: entry.packetsReceived ?? 0,
          samples: entry.totalSamplesReceived ?? 0,
          concealed: entry.concealedSamples ?? 0,
          silent_concealed: entry.silentConcealedSamples ?? 0,
          energy: entry.totalAudioEnergy ?? 0,
          delay: entry.jitterBufferDelay ?? 0,
          emitted: entry.jitterBufferEmittedCount ?? 0,
        });
      } else {
        video.push({
          mid,
          ...(pictures.get(mid) ?? { name: '', source: '' }),
          frames: entry.framesDecoded ?? 0,
          height: entry.frameHeight ?? 0,
          freezes: entry.freezeCount ?? 0,
          freeze_seconds: entry.totalFreezesDuration ?? 0,
          plis: entry.pliCount ?? 0,
        });
      }
    }
    tell({
      type: 'sample',
      at: now(),
      connections: connections.length,
      trouble: document.querySelector('.banner.trouble')?.textContent ?? '',
      audio,
      video,
      sent_audio: sent.audio,
      sent_video: sent.video,
      slide: (globalThis as unknown as { shownSlide?: () => number | undefined }).shownSlide?.(),
      still_bytes: stillBytes(),
    });
  };
  const stillBytes = () => {
    const entries = performance.getEntriesByType('resource') as PerformanceResourceTiming[];
    return entries.findLast((entry) => entry.name.includes('/stills/') && entry.encodedBodySize > 0)?.encodedBodySize ?? 0;
  };
  const turn = (): void => {
    look();
    void sample()
      .catch(() => undefined)
      .then(() => setTimeout(turn, everyMs));
  };
  turn();
}
