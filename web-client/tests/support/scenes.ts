import { closeSync, openSync, writeSync } from 'node:fs';
import type { Page } from 'playwright-core';

/** A drawn person in a drawn room: what a fake camera films. */
export interface Scene {
  /** Colour of the wall, which tests look for in the upper left corner. */
  wall: [number, number, number];
  skin: string;
  hair: string;
  style: 'short' | 'bob' | 'long' | 'bun';
  shirt: string;
  room: 'shelf' | 'window' | 'plant' | 'picture';
  glasses?: boolean;
}

export const SCENES = {
  ada: { wall: [196, 178, 150], skin: '#e9bd97', hair: '#3a2419', style: 'bun', shirt: '#6d3b47', room: 'shelf' },
  wei: { wall: [128, 160, 176], skin: '#e6b98e', hair: '#17140f', style: 'short', shirt: '#2c4661', room: 'window', glasses: true },
  amara: { wall: [164, 150, 186], skin: '#7c4a2e', hair: '#15100d', style: 'long', shirt: '#d9a441', room: 'picture' },
  tomas: { wall: [148, 176, 140], skin: '#f0cdb0', hair: '#a5713d', style: 'bob', shirt: '#44605a', room: 'plant' },
} as const satisfies Record<string, Scene>; // prettier-ignore

export interface Film {
  width?: number;
  height?: number;
  framesPerSecond?: number;
  /** The film is played in a loop. */
  frames?: number;
}

/** Draws `scene` in `page` and writes it as uncompressed YUV4MPEG2, which Chromium's fake camera plays. */
export async function film(page: Page, scene: Scene, file: string, film: Film = {}): Promise<void> {
  const { width = 1280, height = 720, framesPerSecond = 10, frames = 12 } = film;
  const out = openSync(file, 'w');
  await page.evaluate(`globalThis.drawScene = ${drawScene}`);
  writeSync(out, `YUV4MPEG2 W${width} H${height} F${framesPerSecond}:1 Ip A1:1 C420jpeg\n`);
  for (let index = 0; index < frames; index += 1) {
    const frame = await page.evaluate(drawFrame, { scene, width, height, phase: index / frames });
    writeSync(out, 'FRAME\n');
    writeSync(out, Buffer.from(frame, 'base64'));
  }
  closeSync(out);
}

interface Plan {
  scene: Scene;
  width: number;
  height: number;
  /** Runs from 0 to 1 and around. */
  phase: number;
}

/** Runs in a page, and uses nothing but what is there. One picture of the film. */
export function drawScene({ scene, width, height, phase }: Plan): OffscreenCanvas {
  const canvas = new OffscreenCanvas(width, height);
  const g = canvas.getContext('2d')!;
  g.scale(width / 1280, height / 720);
  const turn = (times = 1, shift = 0) => Math.sin(2 * Math.PI * (phase * times + shift));
  const rgb = (scale: number) => `rgb(${scene.wall.map((part) => Math.min(255, part * scale)).join()})`;
  const box = (x: number, y: number, w: number, h: number, colour: string, round = 0) => {
    g.fillStyle = colour;
    g.beginPath();
    g.roundRect(x, y, w, h, round);
    g.fill();
  };
  const oval = (x: number, y: number, rx: number, ry: number, colour: string, from = 0, to = 7) => {
    g.fillStyle = colour;
    g.beginPath();
    g.ellipse(x, y, rx, ry, 0, from, to);
    g.fill();
  };

  // The room, softly lit from the left; the upper left corner stays plain wall.
  box(0, 0, 1280, 720, rgb(1));
  const light = g.createLinearGradient(300, 0, 1280, 720);
  light.addColorStop(0, '#fff0');
  light.addColorStop(1, '#0006');
  g.fillStyle = light;
  g.fillRect(0, 0, 1280, 720);
  if (scene.room === 'shelf') {
    const books = ['#8d4a3c', '#c9a05b', '#50685e', '#3f506b', '#b7735a', '#e0d2b4'];
    for (const y of [210, 420]) {
      box(850, y, 400, 14, '#6b4a31');
      for (let n = 0; n < 11; n += 1) {
        const tall = 96 + ((n * 37 + y) % 44);
        if ((n * 7 + y) % 5 > 0) box(864 + n * 34, y - tall, 26, tall, books[(n + y) % 6]!, 3);
      }
    }
  } else if (scene.room === 'window') {
    box(820, 70, 380, 400, '#eef2f1', 6);
    const sky = g.createLinearGradient(0, 90, 0, 450);
    sky.addColorStop(0, '#8fc1e3');
    sky.addColorStop(1, '#e9f2f0');
    g.fillStyle = sky;
    g.fillRect(838, 88, 344, 364);
    oval(900, 452, 150, 90, '#7fa47c', Math.PI, 2 * Math.PI);
    oval(1090, 452, 92, 130, '#6b9270', Math.PI, 2 * Math.PI);
    oval(930 + turn() * 10, 150, 46, 15, '#fffc');
    box(1002, 88, 14, 364, '#eef2f1');
    box(838, 262, 344, 12, '#eef2f1');
  } else if (scene.room === 'picture') {
    box(860, 96, 300, 230, '#f3ead9', 4);
    box(880, 116, 260, 190, '#d98e63');
    oval(1030, 220, 46, 46, '#f5dfa8');
    oval(940, 306, 120, 70, '#7a4f63', Math.PI, 2 * Math.PI);
    oval(1080, 306, 100, 52, '#5a3f58', Math.PI, 2 * Math.PI);
    box(1190, 330, 12, 390, '#4a3a55');
    oval(1196, 316, 84, 62, '#f0e2c4', Math.PI, 2 * Math.PI);
  } else {
    box(930, 520, 150, 200, '#c07a52', 14);
    for (let leaf = -4; leaf <= 4; leaf += 1) {
      g.save();
      g.translate(1005, 530);
      g.rotate(leaf * 0.29 + turn(1, leaf / 9) * 0.02);
      oval(0, -170, 36, 150, leaf % 2 ? '#4f7d54' : '#3d6a47');
      g.restore();
    }
  }

  // The person, breathing and nodding a little.
  const x = 560 + turn() * 9;
  const y = 330 + turn(2) * 5;
  const shade = (colour: string, amount: string) => `color-mix(in srgb, ${colour}, ${amount})`;
  if (scene.style === 'long') box(x - 158, y - 150, 316, 470, scene.hair, 140);
  if (scene.style === 'bob') box(x - 150, y - 150, 300, 300, scene.hair, 120);
  if (scene.style === 'bun') oval(x + 8, y - 188, 66, 60, scene.hair);
  oval(x, 760, 330, 240, scene.shirt);
  oval(x + 150, 800, 180, 230, shade(scene.shirt, '#000 12%'));
  oval(x, 760, 330, 236, scene.shirt, Math.PI * 0.9, Math.PI * 1.75);
  box(x - 58, y + 80, 116, 150, shade(scene.skin, '#000 14%'), 50);
  oval(x, 545, 92, 46, shade(scene.skin, '#000 8%'));
  oval(x - 122, y + 14, 20, 34, scene.skin);
  oval(x + 122, y + 14, 20, 34, shade(scene.skin, '#000 10%'));
  oval(x, y, 124, 152, scene.skin);
  g.save();
  g.clip(new Path2D(`M${x + 10} ${y - 160}h130v330h-130c60-90 60-240 0-330z`));
  oval(x, y, 124, 152, shade(scene.skin, '#000 8%'));
  g.restore();
  g.fillStyle = scene.hair;
  g.beginPath();
  g.ellipse(x, y - 40, 132, 126, 0, Math.PI * 0.98, Math.PI * 2.02);
  g.quadraticCurveTo(x + 100, y - 92, x + 30, y - 84);
  g.quadraticCurveTo(x - 60, y - 76, x - 131, y - 38);
  g.fill();

  const blink = phase > 0.45 && phase < 0.55 ? 0.15 : 1;
  const look = turn(1, 0.2) * 4;
  for (const side of [-1, 1]) {
    oval(x + side * 48, y + 4, 19, 12 * blink, '#fdfaf5');
    oval(x + side * 48 + look, y + 4, 9.5, 10.5 * blink, '#2a1d16');
    box(x + side * 48 - 24, y - 30, 48, 8, scene.hair, 4);
    if (scene.glasses) {
      g.strokeStyle = '#22262b';
      g.lineWidth = 5;
      g.beginPath();
      g.roundRect(x + side * 48 - 36, y - 20, 72, 52, 18);
      g.stroke();
    }
  }
  if (scene.glasses) box(x - 13, y - 4, 26, 5, '#22262b');
  box(x - 8, y + 16, 16, 40, shade(scene.skin, '#000 12%'), 8);
  const open = Math.max(0, turn(3)) * 13;
  oval(x, y + 88, 36, 8 + open, '#7d3b37');
  box(x - 25, y + 83 - open / 2, 50, 5, '#f7efe6', 2);
  return canvas;
}

/** Runs in the page, where `drawScene` is. One frame as I420 in base64. */
async function drawFrame(plan: Plan): Promise<string> {
  const { width, height } = plan;
  const { data } = drawScene(plan).getContext('2d')!.getImageData(0, 0, width, height);
  const half = width / 2;
  const planes = new Uint8Array((width * height * 3) / 2);
  const [u, v] = [width * height, (width * height * 5) / 4];
  for (let row = 0, pixel = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1, pixel += 1) {
      const [red, green, blue] = [data[pixel * 4]!, data[pixel * 4 + 1]!, data[pixel * 4 + 2]!];
      planes[pixel] = 16 + 0.257 * red + 0.504 * green + 0.098 * blue;
      if (row % 2 || column % 2) continue;
      const at = (row / 2) * half + column / 2;
      planes[u + at] = 128 - 0.148 * red - 0.291 * green + 0.439 * blue;
      planes[v + at] = 128 + 0.439 * red - 0.368 * green - 0.071 * blue;
    }
  }
  const blob = new Blob([planes]);
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve((reader.result as string).split(',')[1]!);
    reader.readAsDataURL(blob);
  });
}
