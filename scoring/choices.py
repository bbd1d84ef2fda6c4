"""What a caller may choose, and the defaults: free of PyTorch, so that `--help` and mistakes are answered at once."""

from __future__ import annotations

PRECISIONS = ("fp32", "int8", "bf16", "fp16")
BACKENDS = ("torch", "onnx", "openvino")

# Planted splices, 20 ms frames, the detector in the box: EER 0.48 with windows of 13 s, 0.25 with 4 s, 0.20 with 2 s,
# 0.24 with 0.6 s; half the hop gains nothing. See benchmarks/localisation.py.
TIMELINE_WINDOW_S = 2.0
TIMELINE_HOP_S = 0.5
