#!/usr/bin/env python3
"""Prints what TensorBoard's own readers find in the runs of a folder, as JSON: every point, picture and sound of every tag.

    python tests/support/tensorboard_dump.py tracking/tensorboard

Two readers, since they take restarts differently: the one for scripts (EventAccumulator) and the one of the server in Python.
"""

import hashlib
import json
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.util import tensor_util


def number(value: float) -> object:
    """What JSON has no number for as the text that the event log has."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return float(value)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def run(folder: pathlib.Path) -> dict[str, object]:
    kinds = ("scalars", "images", "audio", "tensors")
    reader = event_accumulator.EventAccumulator(str(folder), size_guidance={kind: 0 for kind in kinds})
    reader.Reload()
    tags = reader.Tags()
    server = plugin_event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    server.Reload()
    scalars = server.PluginTagToContent("scalars")
    return {
        "points": {tag: [[e.step, e.wall_time, number(e.value)] for e in reader.Scalars(tag)] for tag in tags["scalars"]},
        "images": {
            tag: [[e.step, e.wall_time, e.width, e.height, digest(e.encoded_image_string)] for e in reader.Images(tag)]
            for tag in tags["images"]
        },
        "sounds": {
            tag: [
                [e.step, e.wall_time, e.sample_rate, e.length_frames, e.content_type, digest(e.encoded_audio_string)]
                for e in reader.Audio(tag)
            ]
            for tag in tags["audio"]
        },
        "server_points": {
            tag: [[e.step, e.wall_time, number(tensor_util.make_ndarray(e.tensor_proto).item())] for e in server.Tensors(tag)]
            for tag in scalars
        },
    }


def main() -> None:
    folders = sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.is_dir())
    json.dump({folder.name: run(folder) for folder in folders}, sys.stdout)


if __name__ == "__main__":
    main()
