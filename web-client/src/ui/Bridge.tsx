/** The picture of the start page: a footbridge over still water. */
export function Bridge() {
  const posts = [70, 110, 150, 190, 230, 270, 310];
  const arch = (x: number) => 128 - 74 * Math.sin((Math.PI * (x - 30)) / 320);
  return (
    <svg class="bridge" viewBox="0 0 380 190" aria-hidden="true">
      <circle class="sun" cx="268" cy="62" r="26" />
      <path class="far" d="M0 128c40-22 64-34 96-18s52 10 84-8 66-30 104-10 62 22 96 8v28H0z" />
      <path class="deck" d="M30 128Q190-20 350 128" />
      <path class="rail" d="M30 112Q190-36 350 112" />
      {posts.map((x) => (
        <path key={x} class="rail" d={`M${x} ${arch(x).toFixed(1)}v-16`} />
      ))}
      <path class="deck" d="M0 128h380" />
      <path class="water" d="M64 146h252M96 160h188M136 174h108" />
    </svg>
  );
}
