"""Seconds that RVC WebUI's own preprocessing takes for each file of a folder, one process, imports not counted.

    python prepare_reference.py CHECKOUT RECORDINGS OUTPUT SAMPLE_RATE SLICE_SECONDS

CHECKOUT is a checkout of RVC WebUI; nothing of it is kept here. Prints a JSON object.
"""

import contextlib
import importlib
import json
import os
import sys
import time

checkout, recordings, output, sample_rate, slice_seconds = sys.argv[1:]
os.makedirs(output, exist_ok=True)
os.chdir(checkout)
sys.path.insert(0, checkout)
# It reads its command line while it is imported.
sys.argv = ["preprocess.py", recordings, sample_rate, "1", output, "True", slice_seconds]
with contextlib.redirect_stdout(sys.stderr):
    module = importlib.import_module("train.preprocess")
    worker = module.PreProcess(int(sample_rate), output, float(slice_seconds))
    names = sorted(os.listdir(recordings))
    # The first resampling compiles and loads what the later ones use.
    worker.pipeline(os.path.join(recordings, names[0]), 0, len(names))
    start = time.perf_counter()
    done = [worker.pipeline(os.path.join(recordings, name), i, len(names)) for i, name in enumerate(names)]
    seconds = time.perf_counter() - start
assert all(done), "the reference failed on a file; see above"
print(json.dumps({"seconds": seconds}))
