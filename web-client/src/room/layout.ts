/** Where tiles lie: plain geometry in CSS pixels. */

export interface Size {
  width: number;
  height: number;
}

export interface Box extends Size {
  left: number;
  top: number;
}

/** Tiles may be cropped between these shapes (width by height). */
const WIDEST = 16 / 9;
const NARROWEST_LANDSCAPE = 1.2;
const NARROWEST_PORTRAIT = 0.56;

interface Grid extends Size {
  columns: number;
  rows: number;
}

/** The grid whose `count` equal tiles cover most of `area`. */
export function bestGrid(count: number, area: Size, gap: number): Grid {
  const narrowest = area.width < area.height ? NARROWEST_PORTRAIT : NARROWEST_LANDSCAPE;
  let best: Grid = { columns: 1, rows: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const cellWidth = Math.max(0, (area.width - gap * (columns - 1)) / columns);
    const cellHeight = Math.max(0, (area.height - gap * (rows - 1)) / rows);
    const width = Math.floor(Math.min(cellWidth, cellHeight * WIDEST));
    const height = Math.floor(Math.min(cellHeight, width / narrowest));
    // Prefer full rows: a hole costs as much as the tile that is not there.
    const cover = width * height * (count / (columns * rows)) ** 0.5;
    if (cover > best.width * best.height * (count / (best.columns * best.rows)) ** 0.5) {
      best = { columns, rows, width, height };
    }
  }
  return best;
}

/** Boxes of `count` tiles, centred in `area`, the last row too. */
export function gridBoxes(count: number, area: Size, gap: number): Box[] {
  const { columns, rows, width, height } = bestGrid(count, area, gap);
  const top = (area.height - rows * height - (rows - 1) * gap) / 2;
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = Math.min(columns, count - row * columns);
    const left = (area.width - inRow * width - (inRow - 1) * gap) / 2;
    return {
      left: Math.round(left + (index - row * columns) * (width + gap)),
      top: Math.round(top + row * (height + gap)),
      width,
      height,
    };
  });
}

export interface Stage {
  main: Box;
  strip: Box[];
}

/** One large box and a filmstrip of at most `others` tiles beside it, below it on a narrow page. */
export function stageBoxes(others: number, area: Size, gap: number): Stage {
  if (others === 0) return { main: { left: 0, top: 0, ...area }, strip: [] };
  return area.width < area.height ? stageAbove(others, area, gap) : stageBeside(others, area, gap);
}

function stageBeside(others: number, area: Size, gap: number): Stage {
  const width = Math.round(Math.min(240, Math.max(120, area.width * 0.18)));
  const height = Math.round((width * 9) / 16);
  const count = Math.max(1, Math.min(others, Math.floor((area.height + gap) / (height + gap))));
  const top = (area.height - count * height - (count - 1) * gap) / 2;
  return {
    main: { left: 0, top: 0, width: area.width - width - gap, height: area.height },
    strip: Array.from({ length: count }, (_, index) => ({
      left: area.width - width,
      top: Math.round(top + index * (height + gap)),
      width,
      height,
    })),
  };
}

function stageAbove(others: number, area: Size, gap: number): Stage {
  const count = Math.min(others, 3);
  const width = Math.floor((area.width - gap * 2) / 3);
  const height = Math.floor(Math.min(width, area.height * 0.22));
  const left = (area.width - count * width - (count - 1) * gap) / 2;
  return {
    main: { left: 0, top: 0, width: area.width, height: area.height - height - gap },
    strip: Array.from({ length: count }, (_, index) => ({
      left: Math.round(left + index * (width + gap)),
      top: area.height - height,
      width,
      height,
    })),
  };
}

/** Height in physical pixels at which a 16:9 picture covers `box`. */
export function pictureHeight(box: Size, pixelRatio: number): number {
  return Math.min(0xffff, Math.round(Math.max(box.height, (box.width * 9) / 16) * pixelRatio));
}
