"""The `evaluate.Metric` gives what the plain function gives, offline and in batches."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake.metrics.definitions import detection_metrics

pytest.importorskip("evaluate")


@pytest.fixture
def metric(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from evaluation.hub_metric import DetectionMetric

    return DetectionMetric(cache_dir=str(tmp_path))


def test_it_equals_the_function_whole_and_in_batches(metric):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 101)
    scores = rng.normal(size=101) + labels
    expected = detection_metrics(scores, labels, 0.25)
    assert metric.compute(predictions=scores, references=labels, threshold=0.25) == expected
    for part in np.array_split(np.arange(101), 7):
        metric.add_batch(predictions=scores[part], references=labels[part])
    assert metric.compute(threshold=0.25) == expected
