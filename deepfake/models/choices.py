"""What a caller may choose, and the defaults: free of PyTorch, so that `--help` and mistakes are answered at once."""

from __future__ import annotations

MIN_DURATION_S = 0.5  # of a recording; below this there is not one syllable to judge

PRECISIONS = ("fp32", "int8", "bf16", "fp16")
EXPORTED = {"onnx": "model.onnx", "openvino": "model.xml"}  # backend: the file `infer.py --export` writes for it
BACKENDS = ("auto", "torch", *EXPORTED)
CLIP_BY_CLIP = ("compact-encoder-detector",)  # model types that level clips themselves and take them one by one
CHANNELS = ("mix", "each")
SPEECH_DETECTION = ("auto", "off")

# Planted splices, 20 ms frames, the predecessor of the shipped detector, fitted without these clips: EER 0.51 with
# windows of 13 s, 0.30 with 4 s, 0.23 with 2 s, 0.27 with 0.6 s; half the hop gains nothing. See
# benchmarks/localisation.py.
TIMELINE_WINDOW_S = 2.0
TIMELINE_HOP_S = 0.5
