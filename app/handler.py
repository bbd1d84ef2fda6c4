"""`EndpointHandler` for Hugging Face Inference Endpoints, which look for it in a file `handler.py` beside the weights.

That file needs one line: `from app.handler import EndpointHandler`. Its requirements.txt names this project.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, AudioError
from deepfake.scoring.detector import Detector
from deepfake.scoring.result import Score


class EndpointHandler:
    """Answers a request as the task `audio-classification` does: labels with scores, the likelier first.

    Args:
        path: the checkpoint's folder; "": the detector in the box.
    """

    def __init__(self, path: str = "") -> None:
        self._detector = Detector.from_pretrained(path or None)

    def __call__(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """Score one recording.

        Args:
            data: `inputs`: a file's bytes, base64 of them, or float samples; with samples, `parameters` may hold
                `sampling_rate` in hertz, else 16,000.

        Returns:
            the two labels with their scores; or one entry with `error` where the recording cannot be scored.
        """
        inputs = data.get("inputs", b"")
        parameters = data.get("parameters") or {}
        try:
            score = self._score(inputs, int(parameters.get("sampling_rate", SAMPLING_RATE)))
        except (AudioError, ValueError, binascii.Error) as error:
            return [{"error": str(error)}]
        labels = {"fake": score.fake_probability, "real": 1 - score.fake_probability}
        ranked = sorted(labels.items(), key=lambda label: -label[1])
        return [{"label": label, "score": value} for label, value in ranked]

    def _score(self, inputs: Any, sampling_rate: int) -> Score:
        if isinstance(inputs, str):
            inputs = base64.b64decode(inputs, validate=True)
        if isinstance(inputs, (bytes, bytearray)):
            return self._detector.score(bytes(inputs))
        if isinstance(inputs, os.PathLike):
            raise ValueError("inputs is a path; send the file's bytes")
        return self._detector.score(np.asarray(inputs, dtype=np.float32), sampling_rate)
