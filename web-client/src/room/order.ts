/** Who is on the first page when not everybody fits: whoever spoke last, with as little moving as can be. */

/**
 * Keeps `order` in step with who is there: new ones at the end, and whoever speaks but is beyond the
 * first `visible` places changes places with the one there who has been silent for longest.
 * `spoke` tells when (any growing number) each spoke last.
 */
export function arrange(
  order: readonly string[],
  present: readonly string[],
  speaking: readonly string[],
  spoke: ReadonlyMap<string, number>,
  visible: number,
): string[] {
  const here = new Set(present);
  const known = new Set(order);
  const next = [...order.filter((id) => here.has(id)), ...present.filter((id) => !known.has(id))];
  for (const speaker of speaking) {
    const from = next.indexOf(speaker);
    if (from < visible) continue; // not here, or in sight already
    const to = quietest(next.slice(0, visible), speaking, spoke);
    if (to < 0) break; // everyone in sight is speaking
    [next[from], next[to]] = [next[to]!, speaker];
  }
  return next;
}

function quietest(ids: readonly string[], speaking: readonly string[], spoke: ReadonlyMap<string, number>): number {
  let found = -1;
  let since = Infinity;
  ids.forEach((id, index) => {
    const last = spoke.get(id) ?? 0;
    // Of equally silent ones the last: the first places are looked at most.
    if (!speaking.includes(id) && last <= since) [found, since] = [index, last];
  });
  return found;
}
