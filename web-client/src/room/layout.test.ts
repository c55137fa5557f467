import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bestGrid, type Box, gridBoxes, pictureHeight, type Size, stageBoxes } from './layout.ts';

const DESKTOP: Size = { width: 1280, height: 640 };
const PHONE: Size = { width: 374, height: 620 };
const LANDSCAPE_PHONE: Size = { width: 812, height: 300 };

test('the grid fits the viewport', () => {
  const cases: [string, Size, number, string][] = [
    ['desktop', DESKTOP, 1, '1x1'],
    ['desktop', DESKTOP, 2, '2x1'],
    ['desktop', DESKTOP, 4, '2x2'],
    ['desktop', DESKTOP, 6, '3x2'],
    ['desktop', DESKTOP, 9, '3x3'],
    ['phone', PHONE, 1, '1x1'],
    ['phone', PHONE, 2, '1x2'],
    ['phone', PHONE, 4, '2x2'],
    ['phone on its side', LANDSCAPE_PHONE, 2, '2x1'],
    ['phone on its side', LANDSCAPE_PHONE, 4, '2x2'],
  ];
  for (const [name, area, count, expected] of cases) {
    const { columns, rows } = bestGrid(count, area, 8);
    assert.equal(`${columns}x${rows}`, expected, `${count} on a ${name}`);
  }
});

function overlap(a: Box, b: Box): boolean {
  return a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
}

function assertTidy(boxes: Box[], area: Size): void {
  boxes.forEach((box, index) => {
    assert.ok(box.left >= 0 && box.top >= 0 && box.width > 0 && box.height > 0);
    assert.ok(box.left + box.width <= area.width + 1 && box.top + box.height <= area.height + 1);
    for (const other of boxes.slice(index + 1)) assert.ok(!overlap(box, other));
  });
}

test('tiles never overlap and never leave the page', () => {
  for (const area of [DESKTOP, PHONE, LANDSCAPE_PHONE, { width: 320, height: 320 }]) {
    for (let count = 1; count <= 12; count += 1) {
      assertTidy(gridBoxes(count, area, 8), area);
      const { main, strip } = stageBoxes(count, area, 8);
      assertTidy([main, ...strip], area);
    }
  }
});

test('the last row is centred', () => {
  const boxes = gridBoxes(5, DESKTOP, 8);
  const [first, last] = [boxes[3]!, boxes[4]!];
  assert.ok(Math.abs(first.left - (DESKTOP.width - last.left - last.width)) <= 1);
});

test('no room is no crash', () => {
  assert.equal(gridBoxes(3, { width: 0, height: 0 }, 8).length, 3);
  assert.equal(gridBoxes(0, DESKTOP, 8).length, 0);
});

test('a screen alone takes everything', () => {
  assert.deepEqual(stageBoxes(0, DESKTOP, 8).main, { left: 0, top: 0, ...DESKTOP });
});

test('heights are physical pixels of the whole picture', () => {
  assert.equal(pictureHeight({ width: 320, height: 180 }, 2), 360);
  assert.equal(pictureHeight({ width: 300, height: 300 }, 1), 300);
  assert.equal(pictureHeight({ width: 1600, height: 300 }, 1), 900);
});
