/** Names as faces. */

/** Two letters for "Ada Lovelace"; the given name, or what fits of it, for 李小龙. */
export function initials(name: string): string {
  const trimmed = name.trim();
  if (/^\p{Script=Han}{2,4}$/u.test(trimmed)) return trimmed.slice(-2);
  const words = trimmed.split(/[\s·.\-_]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((word) => [...(word ?? '?')][0] ?? '?').join('').toUpperCase(); // prettier-ignore
}

/** A hue in degrees, the same for the same name everywhere. */
export function tint(name: string): string {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)!) % 360;
  return String(hash);
}
