import { type Key, type Language, language, setLanguage, t } from '../i18n/index.ts';
import type { LocalMedia } from '../media/local.ts';
import type { ReceiveMode } from '../protocol/index.ts';
import type { Session } from '../room/session.ts';
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

interface Props {
  session: Session;
  local: LocalMedia;
  onClose: () => void;
}

export function SettingsPanel({ session, local, onClose }: Props) {
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
        <Mode session={session} mode="audio_only" />
        <Mode session={session} mode="save_data" />
        <p class="data-used">{t('settings.data', { n: (session.bytes.value / 1e6).toFixed(1) })}</p>
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

/** At most one of them is on. */
function Mode({ session, mode }: { session: Session; mode: Exclude<ReceiveMode, 'full'> }) {
  const { slots } = session;
  return (
    <label class="check">
      <input
        type="checkbox"
        name={mode}
        checked={slots.mode.value === mode}
        onChange={(event) => slots.setMode(event.currentTarget.checked ? mode : 'full')}
      />
      <span>{t(`settings.${mode}`)}</span>
    </label>
  );
}
