import type { Participant } from '../protocol/index.ts';
import { type Box, gridBoxes, pictureHeight, type Size, stageBoxes } from './layout.ts';
import { type Room, sends } from './model.ts';
import { keyOf, type Wanted } from './viewport.ts';

/** What lies where on the stage. */
export interface Tile {
  key: string;
  participant: string;
  source: 'camera' | 'screen';
  box: Box;
  self: boolean;
  /** In the corner above the others. */
  floating: boolean;
  /** The large one of a stage with a filmstrip. */
  main: boolean;
}

export interface Scene {
  tiles: Tile[];
  page: number;
  pages: number;
}

export interface View {
  area: Size;
  /** Few slots, and oneself in the corner. */
  phone: boolean;
  /** Tiles of others that fit on one page. */
  capacity: number;
  page: number;
  /** The tile that the viewer has put on the stage. */
  pinned: string | null;
}

const GAP = 8;

export function sceneOf(room: Room, order: readonly string[], view: View): Scene {
  const byId = new Map(room.participants.map((participant) => [participant.id, participant]));
  const others = order.flatMap((id) => (id === room.self ? [] : (byId.get(id) ?? [])));
  const screens = others.filter((participant) => sends(participant, 'screen'));
  const pictures = [...screens.map(screenOf), ...others.map(cameraOf)];
  const focus = pictures.find(({ key }) => key === view.pinned) ?? pictures[screens.length - 1];
  if (focus && (screens.length > 0 || view.pinned === focus.key)) return stage(room, pictures, focus, view);
  return grid(room, others, view);
}

type Picture = Pick<Tile, 'key' | 'participant' | 'source'>;

function cameraOf({ id }: Participant): Picture {
  return { key: keyOf({ participant: id, source: 'camera' }), participant: id, source: 'camera' };
}

function screenOf({ id }: Participant): Picture {
  return { key: keyOf({ participant: id, source: 'screen' }), participant: id, source: 'screen' };
}

const PLAIN = { self: false, floating: false, main: false };

function selfTile(room: Room, box: Box, floating: boolean): Tile {
  const key = keyOf({ participant: room.self, source: 'camera' });
  return { ...PLAIN, key, participant: room.self, source: 'camera', box, self: true, floating };
}

function stage(room: Room, pictures: Picture[], focus: Picture, view: View): Scene {
  const rest = pictures.filter(({ key }) => key !== focus.key);
  const { main, strip } = stageBoxes(Math.min(rest.length + 1, view.capacity), view.area, GAP);
  const tiles: Tile[] = [{ ...PLAIN, ...focus, box: main, main: true }];
  strip.forEach((box, index) => {
    const picture = rest[index];
    if (index < strip.length - 1 && picture) tiles.push({ ...PLAIN, ...picture, box });
    else tiles.push(selfTile(room, box, false));
  });
  return { tiles, page: 0, pages: 1 };
}

function grid(room: Room, others: Participant[], view: View): Scene {
  const pages = Math.max(1, Math.ceil(others.length / view.capacity));
  const page = Math.min(view.page, pages - 1);
  const here = others.slice(page * view.capacity, (page + 1) * view.capacity);
  const floating = others.length >= view.capacity || (view.phone && others.length > 0 && others.length < 3);
  const boxes = gridBoxes(here.length + (floating ? 0 : 1), view.area, GAP);
  const tiles = here.map((participant, index) => ({ ...PLAIN, ...cameraOf(participant), box: boxes[index]! }));
  const own = floating ? corner(view) : boxes[here.length]!;
  return { tiles: [...tiles, selfTile(room, own, floating)], page, pages };
}

function corner({ area, phone }: View): Box {
  const [width, height] = phone && area.width < area.height ? [96, 128] : [176, 99];
  return { left: area.width - width - 12, top: area.height - height - 12, width, height };
}

/** What to ask the server for: the pictures of others that are sent, the large one first. */
export function wantedOf(room: Room, scene: Scene, pixelRatio: number): Wanted[] {
  const byId = new Map(room.participants.map((participant) => [participant.id, participant]));
  return [...scene.tiles]
    .sort((a, b) => Number(b.main) - Number(a.main))
    .filter((tile) => !tile.self && sends(byId.get(tile.participant), tile.source))
    .map(({ participant, source, box }) => ({ participant, source, height: pictureHeight(box, pixelRatio) }));
}
