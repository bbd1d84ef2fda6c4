"""The detection metrics as an `evaluate.Metric`: what the Trainer computes, and other pipelines can. Needs no network.

DetectionMetric().compute(predictions=scores, references=labels, threshold=0.0)
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from deepfake.metrics.definitions import Value, detection_metrics

DESCRIPTION = "Metrics of a fake-speech detector: fake is the positive class, higher scores are faker."
INPUTS = """
Args:
    predictions: fake_score per clip (float), higher = more likely fake.
    references: 0 = real, 1 = fake.
    threshold: a clip is called fake when its score >= threshold. Default 0.0, the middle of a logit difference.
Returns:
    The dictionary of `deepfake.metrics.definitions.detection_metrics`; metrics that the data leave undefined are None.
"""


class DetectionMetric(evaluate.Metric):
    """Instantiate it directly; `evaluate.load` would look for it on the Hub."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _build_data_dir(self) -> str:
        # A metric that keeps everything in memory writes nothing, and a home folder need not be writable.
        return self._data_dir_root if self.keep_in_memory else super()._build_data_dir()

    def _compute(self, predictions: np.ndarray, references: np.ndarray, threshold: float = 0.0) -> dict[str, Value]:
        return detection_metrics(predictions, references, threshold)
