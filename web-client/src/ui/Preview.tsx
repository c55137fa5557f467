import { t } from '../i18n/index.ts';
import type { LocalMedia } from '../media/local.ts';
import { DevicePicker, deviceProblem } from './DevicePicker.tsx';
import { Icon } from './Icon.tsx';
import { LevelMeter } from './LevelMeter.tsx';
import { mirrored, Video } from './Video.tsx';

/** How others will see and hear one, and the choice of devices. */
export function Preview({ local }: { local: LocalMedia }) {
  const { microphone, camera } = local;
  const muted = !microphone.on.value || !microphone.track.value;
  return (
    <section class="preview">
      <div class="preview-stage">
        {camera.track.value ? (
          <Video track={camera.track.value} mirrored={mirrored.value} />
        ) : (
          <p>{t(camera.on.value && !local.ready.value ? 'join.preview.starting' : 'join.preview.off')}</p>
        )}
        {!muted && microphone.track.value && <LevelMeter track={microphone.track.value} />}
        <div class="preview-controls">
          <button
            type="button"
            class={`round ${muted ? 'off' : ''}`}
            aria-label={t(muted ? 'control.unmute' : 'control.mute')}
            aria-pressed={!muted}
            onClick={() => void local.setMicrophone(muted)}
          >
            <Icon name={muted ? 'micOff' : 'mic'} />
          </button>
          <button
            type="button"
            class={`round ${camera.track.value ? '' : 'off'}`}
            aria-label={t(camera.track.value ? 'control.camera.off' : 'control.camera.on')}
            aria-pressed={!!camera.track.value}
            onClick={() => void local.setCamera(!camera.track.value)}
          >
            <Icon name={camera.track.value ? 'camera' : 'cameraOff'} />
          </button>
        </div>
      </div>
      <DeviceProblems local={local} />
      <div class="pickers">
        <DevicePicker local={local} kind="audioinput" />
        <DevicePicker local={local} kind="videoinput" />
      </div>
    </section>
  );
}

function DeviceProblems({ local }: { local: LocalMedia }) {
  const problems = [deviceProblem('microphone', local.microphone), deviceProblem('camera', local.camera)].filter(Boolean);
  if (problems.length === 0) return null;
  return (
    <p class="hint" role="status">
      {problems.join(' ')} {t('join.listen')}
    </p>
  );
}
