"""Writes safetensors files: NumPy arrays or PyTorch tensors by name."""
import json
import struct

import numpy as np

NAMES = {np.dtype(np.float64): "F64", np.dtype(np.float32): "F32", np.dtype(np.int64): "I64",
         np.dtype(np.int32): "I32", np.dtype(np.uint8): "U8"}


def write_safetensors(path, tensors):
    arrays = {n: t if isinstance(t, np.ndarray) else t.detach().numpy() for n, t in tensors.items()}
    header, blobs, offset = {}, [], 0
    for name in sorted(arrays, key=lambda n: -arrays[n].itemsize):  # keeps every tensor aligned
        blob = np.ascontiguousarray(arrays[name]).tobytes()
        header[name] = dict(dtype=NAMES[arrays[name].dtype], shape=list(arrays[name].shape),
                            data_offsets=[offset, offset + len(blob)])
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
