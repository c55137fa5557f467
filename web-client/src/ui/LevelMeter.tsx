import { useEffect, useRef } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { Meter } from '../media/levels.ts';

/** One's own microphone as a bar. */
export function LevelMeter({ track }: { track: MediaStreamTrack }) {
  const bar = useRef<HTMLSpanElement>(null);

  useEffect(() => {
    const meter = new Meter(track);
    let frame = 0;
    const draw = () => {
      bar.current?.style.setProperty('--level', meter.level().toFixed(2));
      frame = requestAnimationFrame(draw);
    };
    draw();
    return () => {
      cancelAnimationFrame(frame);
      meter.close();
    };
  }, [track]);

  return (
    <span class="meter" role="img" aria-label={t('device.level')}>
      <span ref={bar} />
    </span>
  );
}
