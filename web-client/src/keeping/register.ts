/** Lets the service worker keep the page for the next visit; call it when the link is not needed for anything else. */
export function keepPage(): void {
  // Where there is none (plain HTTP, private windows), the browser's own cache serves.
  if (import.meta.env.DEV || !('serviceWorker' in navigator)) return;
  navigator.serviceWorker.register('/sw.js', { updateViaCache: 'none' }).catch((error: unknown) => {
    console.info('the page is not kept:', error); // as under a certificate that the browser does not trust
  });
}
