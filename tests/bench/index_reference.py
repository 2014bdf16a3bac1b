"""The index of the same vectors with faiss on the CPU, as RVC builds it, to be read beside `cargo xtask bench index`.

Prints one JSON object: seconds to train and add, peak memory of the process, recall@8, milliseconds to search for a second of sound.
"""

import argparse
import json
import resource
import statistics
import time

import faiss
import numpy as np

K = 8


def milliseconds(index, rows, n, rounds):
    times = []
    for i in range(rounds + 1):
        start = time.perf_counter()
        index.search(rows[i * n : (i + 1) * n], K)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[1:]) * 50 / n


def recall(index, rows, sample):
    exact = faiss.IndexFlatL2(rows.shape[1])
    exact.add(rows)
    hits = 0
    wanted, found = exact.search(rows[sample], K + 1)[1], index.search(rows[sample], K + 1)[1]
    for own, a, b in zip(sample, wanted, found):
        hits += len((set(a) - {own}) & (set(b) - {own}))
    return hits / (K * len(sample))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("--cells", type=int)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)
    rows = np.load(options.rows)
    start = time.perf_counter()
    index = faiss.index_factory(rows.shape[1], f"IVF{options.cells},Flat")
    faiss.extract_index_ivf(index).nprobe = 1
    index.train(rows)
    for i in range(0, len(rows), 8192):
        index.add(rows[i : i + 8192])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    queries = rows + np.float32(0.1)
    times = [milliseconds(index, queries, n, rounds) for n, rounds in ((50, 20), (1900, 3))]
    sample = np.random.default_rng(1).choice(len(rows), min(1000, len(rows)), replace=False)
    print(json.dumps({"faiss": faiss.__version__, "seconds": seconds, "peak": peak, "recall": recall(index, rows, sample), "search": times}))


if __name__ == "__main__":
    main()
