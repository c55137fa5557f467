import type { Session } from '../room/session.ts';

export const canShare = typeof navigator.mediaDevices?.getDisplayMedia === 'function';

export async function toggleScreen(session: Session): Promise<void> {
  if (session.screen.value) return session.stopScreen();
  if (!canShare) return;
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({
      video: { width: { max: 1920 }, height: { max: 1200 }, frameRate: { max: 15 } },
      audio: true,
    });
    await session.shareScreen(stream);
  } catch {
    // The user has thought better of it.
  }
}
