/** A screen with slides, for pages that cannot share a real one. */

/** Slides are told apart by the colour of their upper left corner, a bit by channel: 0 to 7. */
const CORNER = 1 / 12;

interface Slides {
  showSlide(number: number): number;
}

/** Runs in the page before its own scripts: what it shares is a drawn slide, with a cursor that blinks. */
export function slides(corner: number): void {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [1920, 1080];
  const context = canvas.getContext('2d')!;
  let current = 0;
  const draw = () => {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = `rgb(${[4, 2, 1].map((bit) => (current & bit ? 230 : 25)).join()})`;
    context.fillRect(0, 0, canvas.width * corner, canvas.height * corner);
    context.fillStyle = '#123';
    context.font = 'bold 72px sans-serif';
    context.fillText(`第 ${current} 页 · Figures of quarter ${current}`, 220, 130);
    context.font = '34px sans-serif';
    for (let line = 0; line < 16; line += 1) {
      const figure = ((current + 1) * 7919 * (line + 3)) % 100_000;
      context.fillText(`${line + 1}. 各村用水量 water use by village, cubic metres: ${figure}, ${figure % 97} %`, 120, 230 + line * 52);
    }
    context.fillStyle = `hsl(${current * 45} 60% 50%)`;
    for (let bar = 0; bar < 8; bar += 1) {
      const height = ((current + 2) * (bar + 1) * 53) % 500;
      context.fillRect(1_350 + bar * 62, 1_000 - height, 46, height);
    }
  };
  let blinks = false;
  setInterval(() => {
    context.fillStyle = (blinks = !blinks) ? '#000' : '#fff';
    context.fillRect(60, 1_040, 3, 20);
  }, 500);
  draw();
  navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream(10);
  Object.assign(globalThis, {
    showSlide(number: number) {
      current = number;
      draw();
      return performance.timeOrigin + performance.now();
    },
  } satisfies Slides);
}

export const slidesArgument = CORNER;

/** Runs in the page of a viewer: the slide of the still picture that it shows, if it shows one. */
export function shownSlide(corner: number): number | undefined {
  const image = document.querySelector<HTMLImageElement>('.tile.screen img.still');
  if (!image?.complete || image.naturalWidth === 0) return undefined;
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d')!;
  const [width, height] = [image.naturalWidth * corner, image.naturalHeight * corner];
  context.drawImage(image, width * 0.3, height * 0.3, width * 0.4, height * 0.4, 0, 0, 1, 1);
  const { data } = context.getImageData(0, 0, 1, 1);
  return [...data.slice(0, 3)].reduce((number, channel) => number * 2 + Number(channel > 128), 0);
}
