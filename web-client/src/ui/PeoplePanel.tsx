import { isolated, t } from '../i18n/index.ts';
import { sends } from '../room/model.ts';
import type { Session } from '../room/session.ts';
import { Avatar } from './Avatar.tsx';
import { CopyLink, meetingLink } from './CopyLink.tsx';
import { Foreign } from './Foreign.tsx';
import { Icon } from './Icon.tsx';
import { Panel } from './Panel.tsx';
import { QualityBars, qualityText } from './QualityBars.tsx';

export function PeoplePanel({ session, onClose }: { session: Session; onClose: () => void }) {
  const room = session.room.value!;
  return (
    <Panel title={`${t('control.people')} (${room.participants.length})`} onClose={onClose}>
      <ul class="people">
        {room.participants.map((participant) => {
          const { id, name } = participant;
          const voice = sends(participant, 'microphone');
          const picture = sends(participant, 'camera');
          const quality = room.quality.get(id);
          return (
            <li key={id} class={room.speakers.speaking.includes(id) ? 'speaking' : ''}>
              <Avatar name={name} id={id} />
              <span class="name">
                {id === room.self ? t('meeting.you.suffix', { name: isolated(name) }) : <Foreign text={name} />}
                {quality && <small>{qualityText(quality)}</small>}
              </span>
              {quality && <QualityBars grade={quality.grade} label={t(`quality.${quality.grade}`)} />}
              {sends(participant, 'screen') && (
                <span role="img" aria-label={t('people.sharing')} title={t('people.sharing')}>
                  <Icon name="screen" />
                </span>
              )}
              <State on={picture} icon={picture ? 'camera' : 'cameraOff'} label={t(`people.camera.${onOff(picture)}`)} />
              <State on={voice} icon={voice ? 'mic' : 'micOff'} label={t(`people.microphone.${onOff(voice)}`)} />
            </li>
          );
        })}
      </ul>
      <div class="invite">
        <span>{t('people.invite')}</span>
        <code>{meetingLink(room.meeting.code)}</code>
        <CopyLink code={room.meeting.code} />
      </div>
    </Panel>
  );
}

function onOff(on: boolean): 'on' | 'off' {
  return on ? 'on' : 'off';
}

function State({ on, icon, label }: { on: boolean; icon: 'mic' | 'micOff' | 'camera' | 'cameraOff'; label: string }) {
  return (
    <span class={on ? '' : 'off'} role="img" aria-label={label} title={label}>
      <Icon name={icon} />
    </span>
  );
}
