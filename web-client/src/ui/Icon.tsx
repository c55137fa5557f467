/** Icons as strokes on a 24 by 24 grid. */
const PATHS = {
  mic: 'M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21',
  micOff: 'M9 6a3 3 0 0 1 6 0v5c0 .4-.1.8-.2 1.2M9 9.5V11a3 3 0 0 0 4.3 2.7M5.5 11a6.5 6.5 0 0 0 10 5.5M18.5 11c0 1-.2 1.9-.6 2.8M12 17.5V21M4 4l16 16',
  camera: 'M4.5 6.5h9a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-9a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2zM15.5 10.8l5-3v8.4l-5-3',
  cameraOff: 'M9.5 6.5h4a2 2 0 0 1 2 2v3l5-3.5v8.5M15.2 15.5a2 2 0 0 1-1.7 2h-9a2 2 0 0 1-2-2v-7a2 2 0 0 1 1.7-2M4 4l16 16',
  screen: 'M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM8.5 20.5h7M12 14V8.5M9.3 11l2.7-2.7 2.7 2.7',
  screenOff: 'M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM8.5 20.5h7M9.7 8.7l4.6 4.6M14.3 8.7l-4.6 4.6',
  leave: 'M3 14.2c0-1.5.6-2.6 1.9-3.4a14 14 0 0 1 14.2 0c1.3.8 1.9 1.9 1.9 3.4v.8c0 .7-.5 1.2-1.2 1.1l-3-.5a1.2 1.2 0 0 1-1-1v-1.9a11 11 0 0 0-7.6 0v1.9c0 .5-.4.9-1 1l-3 .5c-.7.1-1.2-.4-1.2-1.1z',
  chat: 'M5 4.5h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-7.5L7 20.5v-4H5a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2z',
  people: 'M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 19.5c.4-3.3 3-5 6.5-5s6.1 1.7 6.5 5M15.5 4.9a3.5 3.5 0 0 1 0 6.3M18 14.9c2 .7 3.2 2.2 3.5 4.6',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8v4.4M9 14.8v4.4',
  link: 'M10 14a4 4 0 0 0 5.7 0l3.1-3.1a4 4 0 0 0-5.7-5.7l-1.3 1.3M14 10a4 4 0 0 0-5.7 0l-3.1 3.1a4 4 0 0 0 5.7 5.7l1.3-1.3',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  close: 'M6 6l12 12M18 6L6 18',
  send: 'M4 12L20 4.5 15.5 20l-4-6.5zM11.5 13.5L20 4.5',
  stage: 'M4 9V5.5A1.5 1.5 0 0 1 5.5 4H9M15 4h3.5A1.5 1.5 0 0 1 20 5.5V9M20 15v3.5a1.5 1.5 0 0 1-1.5 1.5H15M9 20H5.5A1.5 1.5 0 0 1 4 18.5V15',
  grid: 'M4.5 4.5h6v6h-6zM13.5 4.5h6v6h-6zM4.5 13.5h6v6h-6zM13.5 13.5h6v6h-6z',
  previous: 'M14.5 5.5L8 12l6.5 6.5',
  next: 'M9.5 5.5L16 12l-6.5 6.5',
  sound: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11',
  weak: 'M12 4.5L2.8 20h18.4zM12 10.5v4.2M12 17.3v.1',
};

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** Our mark: a footbridge. */
export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M4 22h24M6 22a10 10 0 0 1 20 0M11 22v-8.6M16 22V12M21 22v-8.6" />
    </svg>
  );
}
