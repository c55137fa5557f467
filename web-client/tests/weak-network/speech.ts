import { spawnSync } from 'node:child_process';
import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';

/** What is said in the meeting: some forty seconds with the pauses of somebody who speaks freely. */
const TEXT = `
Good morning to all of you in the district, and thank you for joining on such a rainy day.
I have five short points. First, the road from the bridge to the upper village was washed out on Tuesday night.
The engineers were there yesterday, and they say that it will take nine days to repair.
Second, please count the households that need seed before Friday, and send me the figures by telephone if the network is down.
Third, the clinic has new vaccines. They must stay cold, so keep the box closed, and call Doctor Lin when you see that the power is off.
Fourth, the water in the reservoir stands two metres below last year. We shall open the gate on Thursday at six in the morning.
And last, there is a question about the school bus. Who has heard from the driver? Please speak up, I am listening.
`;

const VOICES = [
  ['en-us+m3', '150'],
  ['en-gb+f2', '165'],
] as const;

/** Files of speech, mono, one for each speaker; made once by espeak-ng. */
export function speechFiles(folder: string): string[] {
  return VOICES.map(([voice, wordsPerMinute], index) => {
    const file = join(folder, `speech-${index}.wav`);
    if (existsSync(file)) return file;
    const unfinished = `${file}.${process.pid}`;
    const made = spawnSync('espeak-ng', ['-v', voice, '-s', wordsPerMinute, '-w', unfinished, TEXT]);
    if (made.status !== 0) throw new Error(`espeak-ng: ${made.error?.message ?? made.stderr.toString()}`);
    renameSync(unfinished, file);
    return file;
  });
}
