import { type Key, t } from '../i18n/index.ts';
import type { LocalMedia } from '../media/local.ts';
import type { Session } from '../room/session.ts';
import { Icon, type IconName } from './Icon.tsx';
import type { PanelName } from './MeetingPage.tsx';
import { canShare, toggleScreen } from './share.ts';

interface Props {
  session: Session;
  local: LocalMedia;
  panel: PanelName | null;
  unread: number;
  onPanel: (name: PanelName) => void;
}

export function Controls({ session, local, panel, unread, onPanel }: Props) {
  const muted = !(local.microphone.on.value && local.microphone.track.value);
  const dark = !local.camera.track.value;
  const sharing = session.screen.value !== null;
  const count = session.room.value?.participants.length ?? 0;
  const panels: [PanelName, IconName, Key, string | undefined, number][] = [
    ['chat', 'chat', 'control.chat', 'C', unread],
    ['people', 'people', 'control.people', 'P', 0],
    ['settings', 'settings', 'control.settings', undefined, 0],
  ];
  return (
    <footer class="controls">
      <div class="group">
        <Control
          id="microphone"
          icon={muted ? 'micOff' : 'mic'}
          label={t(muted ? 'control.unmute' : 'control.mute')}
          shortcut="M"
          state={muted ? 'off' : ''}
          onClick={() => void local.setMicrophone(muted)}
        />
        <Control
          id="camera"
          icon={dark ? 'cameraOff' : 'camera'}
          label={t(dark ? 'control.camera.on' : 'control.camera.off')}
          shortcut="V"
          state={dark ? 'off' : ''}
          onClick={() => void local.setCamera(dark)}
        />
        {canShare && (
          <Control
            id="screen"
            icon={sharing ? 'screenOff' : 'screen'}
            label={t(sharing ? 'control.share.stop' : 'control.share')}
            shortcut="S"
            state={sharing ? 'active' : ''}
            onClick={() => void toggleScreen(session)}
          />
        )}
      </div>
      <div class="group">
        {panels.map(([name, icon, label, shortcut, badge]) => (
          <Control
            key={name}
            id={name}
            icon={icon}
            label={badge > 0 ? `${t(label)}, ${t('meeting.unread', { n: badge })}` : t(label)}
            text={name === 'people' ? String(count) : undefined}
            shortcut={shortcut}
            state={panel === name ? 'active' : ''}
            expanded={panel === name}
            badge={badge}
            onClick={() => onPanel(name)}
          />
        ))}
      </div>
      <div class="group">
        <button type="button" id="leave" class="leave" aria-label={t('control.leave')} onClick={() => session.leave(true)}>
          <Icon name="leave" />
          <span>{t('control.leave')}</span>
        </button>
      </div>
    </footer>
  );
}

interface ControlProps {
  id: string;
  icon: IconName;
  label: string;
  text?: string | undefined;
  shortcut?: string | undefined;
  state: '' | 'off' | 'active';
  expanded?: boolean;
  badge?: number;
  onClick: () => void;
}

function Control({ id, icon, label, text, shortcut, state, expanded, badge = 0, onClick }: ControlProps) {
  return (
    <button
      type="button"
      id={`control-${id}`}
      class={`round ${state}`}
      aria-label={label}
      aria-expanded={expanded}
      aria-keyshortcuts={shortcut}
      title={shortcut ? `${label} (${shortcut})` : label}
      onClick={onClick}
    >
      <Icon name={icon} />
      {text && <span class="count">{text}</span>}
      {badge > 0 && <span class="badge">{badge > 99 ? '99+' : badge}</span>}
    </button>
  );
}
