/** Takes still pictures of a track that is being sent. */

/** Width and height of the small grey frame by which slides are told apart. */
const GREY = { width: 96, height: 54 };

/** From the best to what a very weak link gets; text stays legible the longest at full width and poor quality. */
const TRIES: readonly [width: number, quality: number][] = [
  [1280, 0.6],
  [1280, 0.35],
  [1280, 0.2],
  [960, 0.25],
  [960, 0.1],
  [640, 0.2],
  [480, 0.1],
];

/** Of the W3C's "MediaStream Image Capture", not in lib.dom: also works while the page is hidden behind what it shows. */
type Grabber = { grabFrame(): Promise<ImageBitmap> };
type GrabberClass = new (track: MediaStreamTrack) => Grabber;

export class StillCamera {
  readonly track: MediaStreamTrack;
  readonly #grabber: Grabber | undefined;
  readonly #video: HTMLVideoElement | undefined;
  readonly #canvas = document.createElement('canvas');

  constructor(track: MediaStreamTrack) {
    this.track = track;
    const { ImageCapture } = globalThis as unknown as { ImageCapture?: GrabberClass };
    if (ImageCapture) {
      this.#grabber = new ImageCapture(track);
      return;
    }
    this.#video = document.createElement('video');
    this.#video.muted = true;
    this.#video.playsInline = true;
    this.#video.srcObject = new MediaStream([track]);
    void this.#video.play().catch(() => undefined);
  }

  /** The frame of now; `undefined` where there is none. */
  async frame(): Promise<ImageBitmap | undefined> {
    try {
      return await (this.#grabber ? this.#grabber.grabFrame() : createImageBitmap(this.#video!));
    } catch {
      return undefined; // not begun, ended, or muted by the system
    }
  }

  grey(frame: ImageBitmap): Uint8Array {
    const { data } = this.#draw(frame, GREY.width, GREY.height).getImageData(0, 0, GREY.width, GREY.height);
    return Uint8Array.from({ length: data.length / 4 }, (_, pixel) => {
      const at = pixel * 4;
      return (data[at]! * 3 + data[at + 1]! * 6 + data[at + 2]!) / 10;
    });
  }

  /** A WebP of at most so many bytes; `undefined` where the browser makes none, or none so small. */
  async picture(frame: ImageBitmap, maxBytes: number): Promise<Blob | undefined> {
    for (const [most, quality] of TRIES) {
      const width = Math.min(most, frame.width);
      this.#draw(frame, width, Math.round((frame.height * width) / frame.width));
      const blob = await new Promise<Blob | null>((resolve) => this.#canvas.toBlob(resolve, 'image/webp', quality));
      if (blob?.type !== 'image/webp') return undefined;
      if (blob.size <= maxBytes) return blob;
    }
    return undefined;
  }

  close(): void {
    if (this.#video) this.#video.srcObject = null;
  }

  #draw(frame: ImageBitmap, width: number, height: number): CanvasRenderingContext2D {
    Object.assign(this.#canvas, { width, height });
    const context = this.#canvas.getContext('2d', { willReadFrequently: true })!;
    context.imageSmoothingQuality = 'high';
    context.drawImage(frame, 0, 0, width, height);
    return context;
  }
}
