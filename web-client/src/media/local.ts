import { batch, signal } from '@preact/signals';
import { remember, recall } from '../room/memory.ts';

/** Why there is no microphone or camera. */
export type DeviceProblem = 'denied' | 'missing' | 'busy' | 'insecure';

type Kind = 'audio' | 'video';

const KINDS = { audio: 'audioinput', video: 'videoinput' } as const;

/** One kind of device: what is chosen, whether it is wanted on, and its running track. */
class Device {
  readonly kind: Kind;
  readonly track = signal<MediaStreamTrack | null>(null);
  readonly on = signal(true);
  readonly problem = signal<DeviceProblem | null>(null);
  readonly chosen = signal('');

  constructor(kind: Kind) {
    this.kind = kind;
    this.chosen.value = recall(`${kind}.device`) ?? '';
    this.on.value = recall(`${kind}.on`) !== 'no';
  }

  constraints(): MediaTrackConstraints {
    const device: MediaTrackConstraints = this.chosen.value ? { deviceId: { ideal: this.chosen.value } } : {};
    return this.kind === 'audio'
      ? { ...device, echoCancellation: true, noiseSuppression: true, autoGainControl: true }
      : { ...device, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
  }

  set(track: MediaStreamTrack | null): void {
    const old = this.track.value;
    if (old && old !== track) {
      old.onended = null;
      old.stop();
    }
    if (track) {
      track.contentHint = this.kind === 'audio' ? 'speech' : 'motion';
      track.onended = () => this.fail('missing'); // unplugged, or taken back by the system
    }
    batch(() => {
      this.track.value = track;
      if (track) this.problem.value = null;
    });
  }

  fail(problem: DeviceProblem): void {
    batch(() => {
      this.set(null);
      this.problem.value = problem;
    });
  }
}

/** This side's microphone and camera, before and during a meeting. */
export class LocalMedia {
  readonly microphone = new Device('audio');
  readonly camera = new Device('video');
  readonly devices = signal<MediaDeviceInfo[]>([]);
  readonly speaker = signal(recall('speaker') ?? '');
  readonly ready = signal(false);
  #stopped = false;

  /** Opens what is wanted; each device fails for itself, and none of them is needed to join. */
  async start(): Promise<void> {
    this.#stopped = false;
    this.ready.value = false;
    navigator.mediaDevices?.addEventListener('devicechange', this.#refresh);
    const wanted = [this.microphone, this.camera].filter((device) => device.on.value);
    if (wanted.length > 0) await this.#openTogether(wanted);
    await this.#refresh();
    this.ready.value = true;
  }

  stop(): void {
    this.#stopped = true;
    navigator.mediaDevices?.removeEventListener('devicechange', this.#refresh);
    this.microphone.set(null);
    this.camera.set(null);
  }

  async setMicrophone(on: boolean): Promise<void> {
    const { microphone } = this;
    microphone.on.value = on;
    remember('audio.on', on ? 'yes' : 'no');
    if (on && !microphone.track.value) await this.#open(microphone);
    // Muting keeps the device open: unmuting must not cost the first word.
    if (microphone.track.value) microphone.track.value.enabled = microphone.on.value;
  }

  async setCamera(on: boolean): Promise<void> {
    const { camera } = this;
    camera.on.value = on;
    remember('video.on', on ? 'yes' : 'no');
    if (!on)
      camera.set(null); // the camera's light goes out
    else if (!camera.track.value) await this.#open(camera);
  }

  async choose(kind: Kind, deviceId: string): Promise<void> {
    const device = kind === 'audio' ? this.microphone : this.camera;
    device.chosen.value = deviceId;
    remember(`${kind}.device`, deviceId);
    if (device.on.value || device.track.value) await this.#open(device);
  }

  chooseSpeaker(deviceId: string): void {
    this.speaker.value = deviceId;
    remember('speaker', deviceId);
  }

  list(kind: MediaDeviceKind): MediaDeviceInfo[] {
    return this.devices.value.filter((device) => device.kind === kind && device.deviceId);
  }

  /** One question to the user for both, where the browser can put it as one. */
  async #openTogether(wanted: Device[]): Promise<void> {
    const constraints: MediaStreamConstraints = {};
    for (const device of wanted) constraints[device.kind] = device.constraints();
    try {
      const stream = await userMedia(constraints);
      for (const device of wanted) this.#take(device, stream);
    } catch (error) {
      if (wanted.length === 1 && wanted[0]) wanted[0].fail(problemOf(error));
      else for (const device of wanted) await this.#open(device);
    }
  }

  async #open(device: Device): Promise<void> {
    try {
      // Some phones cannot open a second camera while the first is open.
      if (device.kind === 'video') device.set(null);
      this.#take(device, await userMedia({ [device.kind]: device.constraints() }));
    } catch (error) {
      device.fail(problemOf(error));
    }
    await this.#refresh();
  }

  #take(device: Device, stream: MediaStream): void {
    const track = stream.getTracks().find((track) => track.kind === device.kind) ?? null;
    if (this.#stopped || (device.kind === 'video' && !device.on.value)) {
      track?.stop(); // switched off, or left, while the question was open
      return;
    }
    if (track) track.enabled = device.on.value;
    device.set(track);
  }

  #refresh = async (): Promise<void> => {
    try {
      this.devices.value = await navigator.mediaDevices.enumerateDevices();
    } catch {
      this.devices.value = [];
    }
    for (const device of [this.microphone, this.camera]) {
      const present = this.devices.value.some((info) => info.kind === KINDS[device.kind]);
      if (!present && this.devices.value.length > 0 && !device.track.value) device.problem.value ??= 'missing';
    }
  };
}

async function userMedia(constraints: MediaStreamConstraints): Promise<MediaStream> {
  if (!navigator.mediaDevices) throw new DOMException('', 'SecurityError');
  return navigator.mediaDevices.getUserMedia(constraints);
}

function problemOf(error: unknown): DeviceProblem {
  switch ((error as DOMException).name) {
    case 'NotAllowedError':
      return 'denied';
    case 'SecurityError':
      return 'insecure';
    case 'NotReadableError':
    case 'AbortError':
      return 'busy';
    default:
      return 'missing';
  }
}
