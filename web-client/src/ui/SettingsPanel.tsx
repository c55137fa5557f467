import { type Key, type Language, language, setLanguage, t } from '../i18n/index.ts';
import type { LocalMedia } from '../media/local.ts';
import { DevicePicker, deviceProblem } from './DevicePicker.tsx';
import { LevelMeter } from './LevelMeter.tsx';
import { Panel } from './Panel.tsx';
import { mirrored, setMirrored } from './Video.tsx';

const SHORTCUTS: [string, Key][] = [
  ['M', 'device.microphone'],
  ['V', 'device.camera'],
  ['S', 'control.share'],
  ['C', 'control.chat'],
  ['P', 'control.people'],
];

export function SettingsPanel({ local, onClose }: { local: LocalMedia; onClose: () => void }) {
  const problems = [deviceProblem('microphone', local.microphone), deviceProblem('camera', local.camera)].filter(Boolean);
  return (
    <Panel title={t('control.settings')} onClose={onClose}>
      <div class="settings">
        <DevicePicker local={local} kind="audioinput" />
        {local.microphone.track.value && <LevelMeter track={local.microphone.track.value} />}
        <DevicePicker local={local} kind="audiooutput" />
        <DevicePicker local={local} kind="videoinput" />
        {problems.length > 0 && <p class="hint">{problems.join(' ')}</p>}
        <label class="check">
          <input
            type="checkbox"
            checked={mirrored}
            onChange={(event) => setMirrored(event.currentTarget.checked)}
          />
          <span>{t('settings.mirror')}</span>
        </label>
        <label>
          <span>{t('settings.language')}</span>
          <select value={language} onChange={(event) => setLanguage(event.currentTarget.value as Language)}>
            <option value="zh">中文</option>
            <option value="en">English</option>
          </select>
        </label>
        <section class="shortcuts">
          <h3>{t('settings.shortcuts')}</h3>
          <dl>
            {SHORTCUTS.map(([key, label]) => (
              <div key={key}>
                <dt>
                  <kbd>{key}</kbd>
                </dt>
                <dd>{t(label)}</dd>
              </div>
            ))}
          </dl>
        </section>
      </div>
    </Panel>
  );
}
