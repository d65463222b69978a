"""Reads a run's TensorBoard events with TensorBoard itself and compares them with metrics.jsonl.

    python3 -m venv v && v/bin/pip install tensorboard 'setuptools<81'
    v/bin/python tests/oracle/read_events.py RUN_FOLDER

Every step of metrics.jsonl must be there exactly once, with the same values as float32, also after
the run was resumed. Also prints the frame of "abc" that tests/train/event_file_test.cpp expects.
"""
import json
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow as tf

header = struct.pack("<Q", 3)
frame = header + struct.pack("<I", tf.masked_crc32c(header)) + b"abc"
print("frame of abc:", (frame + struct.pack("<I", tf.masked_crc32c(b"abc"))).hex(" "))

run = sys.argv[1]
events = EventAccumulator(run + "/tensorboard", size_guidance={"scalars": 0})
events.Reload()
tags = events.Tags()["scalars"]
print(len(tags), "tags:", ", ".join(sorted(tags)))


def as_float32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


wrong = 0
for tag, key in [("train/loss", "loss"), ("train/lm_loss", "lm_loss"), ("router/msr", "msr"),
                 ("train/grad_norm", "grad_norm"), ("perf/tokens_per_second", "tokens_per_second")]:
    expected = []
    with open(run + "/metrics.jsonl") as lines:
        for line in lines:
            metrics = json.loads(line)
            if isinstance(metrics.get(key), (int, float)) and "event" not in metrics:
                expected.append((metrics["step"], as_float32(metrics[key])))
    found = [(point.step, point.value) for point in events.Scalars(tag)] if tag in tags else []
    print(f"{tag}: {len(found)} points,", "equal" if found == expected else "DIFFERENT")
    wrong += found != expected
sys.exit(wrong != 0)
