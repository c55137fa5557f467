import { signal } from '@preact/signals';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { recall, remember } from '../room/memory.ts';

/** Whether one sees oneself as in a mirror; others never do. */
export const mirrored = signal(recall('mirror') !== 'no');

export function setMirrored(on: boolean): void {
  mirrored.value = on;
  remember('mirror', on ? 'yes' : 'no');
}

/** A local picture. */
export function Video({ track, mirrored = false }: { track: MediaStreamTrack; mirrored?: boolean }) {
  const element = useRef<HTMLVideoElement>(null);
  const stream = useMemo(() => new MediaStream([track]), [track]);
  useEffect(() => {
    if (element.current) element.current.srcObject = stream;
  }, [stream]);
  return <video ref={element} class={mirrored ? 'mirrored' : ''} autoplay muted playsInline />;
}

interface SlotProps {
  stream: MediaStream;
  receiver: RTCRtpReceiver;
  /** The track that is to be seen: frames of the slot's former source are not shown. */
  trackId: number;
}

/** What a receive slot shows. When it comes over another connection the old picture stays until the new one is there. */
export function SlotVideo(slot: SlotProps) {
  const shown = useRef<SlotProps>(slot);
  const [, renew] = useState(0);
  if (shown.current.trackId !== slot.trackId) shown.current = slot;
  const before = shown.current.stream === slot.stream ? [] : [shown.current];
  return (
    <>
      {[...before, slot].map((picture) => (
        <SlotPicture
          key={picture.stream.id}
          {...picture}
          onFresh={() => {
            if (picture !== slot || shown.current.stream === slot.stream) return;
            shown.current = slot;
            renew((count) => count + 1);
          }}
        />
      ))}
    </>
  );
}

/** A picture from the first frame on that is of the right track. */
function SlotPicture({ stream, receiver, trackId, onFresh }: SlotProps & { onFresh: () => void }) {
  const fresh = useRef(onFresh);
  fresh.current = onFresh;
  const element = useRef<HTMLVideoElement>(null);

  useEffect(() => {
    const video = element.current;
    if (!video) return;
    video.srcObject = stream;
    video.play().catch(() => undefined); // muted, so nothing forbids it but leaving the page
    video.classList.remove('fresh');
    let request = 0;
    const look = () => {
      if (showsTrack(receiver, trackId)) {
        video.classList.add('fresh');
        fresh.current();
      } else request = video.requestVideoFrameCallback(look);
    };
    if ('requestVideoFrameCallback' in video) request = video.requestVideoFrameCallback(look);
    else (video as HTMLVideoElement).classList.add('fresh');
    return () => video.cancelVideoFrameCallback?.(request);
  }, [stream, trackId]);

  return <video ref={element} class="slot" autoplay muted playsInline />;
}

/** The server writes the id of the source into each packet as CSRC. */
function showsTrack(receiver: RTCRtpReceiver, trackId: number): boolean {
  const sources = receiver.getContributingSources?.() ?? [];
  const latest = sources.reduce<RTCRtpContributingSource | undefined>(
    (best, source) => (best && best.timestamp > source.timestamp ? best : source),
    undefined,
  );
  return latest === undefined || latest.source === trackId;
}
