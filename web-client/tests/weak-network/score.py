"""How well what a page played can be understood, beside what was said: PESQ (ITU-T P.862.2, wide band) and STOI.

    python3 score.py SPEECH.wav HEARD.wav

prints {"pesq": mean, "stoi": mean, "windows": count}. The speech is said in a loop; both are compared in windows, each
aligned by itself, as a jitter buffer stretches and shrinks what it plays.
"""

import json
import sys

import numpy as np
from pesq import PesqError, pesq
from pystoi import stoi
from scipy.io import wavfile
from scipy.signal import correlate, resample_poly

RATE = 16_000
WINDOW = 8 * RATE
# The heard window may be this much longer or shorter than what was said, by the jitter buffer's doing.
SLACK = RATE // 2
# The beginning is of the joining, not of the link.
SKIP = 2 * RATE


def load(path):
    rate, samples = wavfile.read(path)
    samples = samples.astype(np.float64) / 32768
    return samples if rate == RATE else resample_poly(samples, RATE, rate)


def aligned(said, heard):
    """Where in `said` the window `heard` begins, by the peak of their correlation."""
    return int(np.argmax(correlate(said, heard, mode="valid", method="fft")))


def main():
    said, heard = load(sys.argv[1]), load(sys.argv[2])
    said = np.concatenate([said, said[: WINDOW + SLACK]])
    sound = np.flatnonzero(np.abs(heard) > 0.01)
    heard = heard[sound[0] + SKIP :] if len(sound) else heard[:0]
    pesqs, stois = [], []
    for start in range(0, len(heard) - WINDOW + 1, WINDOW):
        window = heard[start : start + WINDOW]
        at = aligned(said, window)
        reference = said[at : at + WINDOW]
        if np.max(np.abs(window)) < 1e-3:
            # Nothing was heard: the worst that there is.
            pesqs.append(1.0)
            stois.append(0.0)
            continue
        try:
            pesqs.append(float(pesq(RATE, reference, window, "wb")))
            stois.append(float(stoi(reference, window, RATE)))
        except PesqError:
            pesqs.append(1.0)
            stois.append(0.0)
    mean = lambda values: float(np.mean(values)) if values else None
    print(json.dumps({"pesq": mean(pesqs), "stoi": mean(stois), "windows": len(pesqs)}))


main()
