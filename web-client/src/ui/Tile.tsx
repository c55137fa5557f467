import type { ReadonlySignal } from '@preact/signals';
import { isolated, language, t } from '../i18n/index.ts';
import type { LocalMedia } from '../media/local.ts';
import { hindranceOf, sends } from '../room/model.ts';
import type { Tile as TilePlan } from '../room/scene.ts';
import type { Session } from '../room/session.ts';
import { Avatar } from './Avatar.tsx';
import { Icon } from './Icon.tsx';
import { QualityBars, qualityText } from './QualityBars.tsx';
import { mirrored, SlotVideo, Video } from './Video.tsx';

interface Props {
  tile: TilePlan;
  session: Session;
  local: LocalMedia;
  levels: ReadonlySignal<ReadonlyMap<string, number>>;
  frozen: ReadonlySignal<ReadonlySet<string>>;
  onPin: () => void;
}

/** One participant's camera or screen. */
export function Tile({ tile, session, local, levels, frozen, onPin }: Props) {
  const room = session.room.value!;
  const participant = room.participants.find(({ id }) => id === tile.participant);
  if (!participant) return null;
  const name = isolated(participant.name);
  const screen = tile.source === 'screen';
  const slot = tile.self ? undefined : session.slotOf(tile.participant, tile.source);
  const camera = tile.self ? local.camera.track.value : null;
  const sending = tile.self ? camera !== null : sends(participant, tile.source);
  const muted = !screen && !sends(participant, 'microphone');
  const speaking = !screen && !muted && room.speakers.speaking.includes(tile.participant);
  const hindrance = slot && hindranceOf(room, slot.mid, slot.trackId, session.slots.mode.value);
  const still = slot && hindrance !== 'unwanted' ? session.album.pictures.value.get(slot.trackId) : undefined;
  const time = still && new Date(still.at).toLocaleTimeString(language.value);
  const words = hindrance && (still ? t('meeting.still', { time: time! }) : t(`meeting.${hindrance}`));
  const weak = slot !== undefined && !hindrance && !screen && frozen.value.has(slot.mid);
  const quality = screen ? undefined : room.quality.get(tile.participant);
  const label = screen ? t('meeting.screen', { name }) : tile.self ? t('meeting.you.suffix', { name }) : name;

  const classes = ['tile'];
  if (speaking) classes.push('speaking');
  if (tile.floating) classes.push('floating');
  if (screen) classes.push('screen');
  if (tile.main) classes.push('main');

  return (
    <figure
      class={classes.join(' ')}
      style={place(tile.box)}
      aria-label={speaking ? `${label}, ${t('meeting.speaking')}` : label}
      data-participant={tile.participant}
      data-source={tile.source}
      data-self={tile.self || undefined}
      data-mid={slot?.mid}
      data-track={slot?.trackId}
      data-hindrance={hindrance}
      onDblClick={tile.self ? undefined : onPin}
    >
      {!screen && <Avatar name={participant.name} level={sending && !hindrance ? undefined : levels} id={tile.participant} />}
      {camera && <Video track={camera} mirrored={mirrored.value} />}
      {still && <img class="still" src={still.url} alt="" data-version={still.version} />}
      {slot && !hindrance && (
        <SlotVideo key={slot.mid} stream={slot.stream} receiver={slot.receiver} trackId={slot.trackId} />
      )}
      {hindrance && <p class={`hindrance ${still ? 'over' : ''}`}>{words}</p>}
      <figcaption>
        {muted && (
          <span class="muted" role="img" aria-label={t('meeting.muted')} title={t('meeting.muted')}>
            <Icon name="micOff" />
          </span>
        )}
        {screen && <Icon name="screen" />}
        <span class="name">{tile.floating ? t('meeting.you') : label}</span>
        {quality && <QualityBars grade={quality.grade} label={qualityText(quality)} />}
        {weak && (
          <span class="weak" role="img" aria-label={t('meeting.weak')} title={t('meeting.weak')}>
            <Icon name="weak" />
          </span>
        )}
      </figcaption>
      {!tile.self && (
        <button
          type="button"
          class="pin"
          aria-label={t(tile.main ? 'control.unpin' : 'control.pin')}
          title={t(tile.main ? 'control.unpin' : 'control.pin')}
          onClick={onPin}
        >
          <Icon name={tile.main ? 'grid' : 'stage'} />
        </button>
      )}
    </figure>
  );
}

function place({ left, top, width, height }: TilePlan['box']) {
  return { transform: `translate(${left}px, ${top}px)`, width: `${width}px`, height: `${height}px` };
}
