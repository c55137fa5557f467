import { signal } from '@preact/signals';
import type { MeetingPage } from './MeetingPage.tsx';

/** The meeting's own page: over a slow link it takes a second that sound does not have to wait for. */
export const meetingPage = signal<typeof MeetingPage | null>(null);

/** The page was kept, or came over a link that has room for the rest beside the join. */
export const cameQuickly = performance.now() < 2_000;

const TRIES = 3;
const PAUSE_MS = 1_000;
let isLoading = false;

export async function loadMeetingPage(): Promise<void> {
  if (isLoading) return;
  isLoading = true;
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      meetingPage.value = (await import('./MeetingPage.tsx')).MeetingPage;
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
  location.reload(); // the server has another version by now
}
