import type { ReadonlySignal } from '@preact/signals';
import { initials, tint } from './names.ts';

interface Props {
  name: string;
  id: string;
  /** Makes the ring breathe with the voice. */
  level?: ReadonlySignal<ReadonlyMap<string, number>> | undefined;
}

/** Who has no picture. */
export function Avatar({ name, id, level }: Props) {
  const loud = level?.value.get(id) ?? 0;
  return (
    <span class="avatar" aria-hidden="true" style={{ '--tint': tint(name), '--loud': loud.toFixed(2) }}>
      {initials(name)}
    </span>
  );
}
