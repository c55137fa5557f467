/** What others have written, so that it cannot turn the page's own words around. */
export function Foreign({ text }: { text: string }) {
  return <bdi dir="auto">{text}</bdi>;
}
