"""soxr's HQ recipe, which librosa and so RVC resamples with, to be read beside `cargo xtask bench resample`.

Reads float64 samples from a file, writes the resampled ones to another, and prints one JSON object: {"soxr": version, "seconds": the
least time of three}.
"""

import json
import sys
import time

import numpy as np
import soxr

source, target, before, after = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
samples = np.fromfile(source)
times = []
for _ in range(3):
    start = time.perf_counter()
    resampled = soxr.resample(samples, before, after, quality="HQ")
    times.append(time.perf_counter() - start)
resampled.tofile(target)
print(json.dumps({"soxr": soxr.__version__, "seconds": min(times)}))
