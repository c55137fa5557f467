import { type Key, t } from '../i18n/index.ts';
import type { DeviceProblem, LocalMedia } from '../media/local.ts';

const LABELS: Record<MediaDeviceKind, Key> = {
  audioinput: 'device.microphone',
  videoinput: 'device.camera',
  audiooutput: 'device.speaker',
};

export function deviceProblem(name: 'microphone' | 'camera', device: LocalMedia['camera']): string | null {
  const problem: DeviceProblem | null = device.problem.value;
  return problem && t(`problem.${name}.${problem}`);
}

export function DevicePicker({ local, kind }: { local: LocalMedia; kind: MediaDeviceKind }) {
  const devices = local.list(kind);
  if (kind === 'audiooutput' && devices.length === 0) return null; // the browser lets no one choose
  const device = kind === 'audioinput' ? local.microphone : local.camera;
  const current =
    kind === 'audiooutput' ? local.speaker.value : (device.track.value?.getSettings().deviceId ?? device.chosen.value);

  function choose(id: string): void {
    if (kind === 'audiooutput') local.chooseSpeaker(id);
    else void local.choose(kind === 'audioinput' ? 'audio' : 'video', id);
  }

  return (
    <label>
      <span>{t(LABELS[kind])}</span>
      <select disabled={devices.length === 0} value={current} onChange={(event) => choose(event.currentTarget.value)}>
        {devices.length === 0 && <option>{t('device.none')}</option>}
        {devices.length > 0 && !devices.some(({ deviceId }) => deviceId === current) && (
          <option value={current}>{t('device.default')}</option>
        )}
        {devices.map((info, index) => (
          <option key={info.deviceId} value={info.deviceId}>
            {info.label || `${t(LABELS[kind])} ${index + 1}`}
          </option>
        ))}
      </select>
    </label>
  );
}
