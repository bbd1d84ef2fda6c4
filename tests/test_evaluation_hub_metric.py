"""The `evaluate.Metric` gives what the plain function gives, offline and in batches."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake.metrics.definitions import detection_metrics


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


def test_the_metrics_of_the_trainer_are_those_of_evaluate(monkeypatch, tmp_path):
    from transformers import EvalPrediction

    from deepfake.training.objective import REPORTED
    from deepfake.training.trainer import ranking_metrics

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", tmp_path / "none")
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(0, 2, 60), rng.normal(size=(60, 2)).astype(np.float32)
    before = np.random.get_state()[1].copy()
    found = ranking_metrics(EvalPrediction(predictions=logits, label_ids=labels))
    expected = detection_metrics(np.float64(logits[:, 1]) - np.float64(logits[:, 0]), labels, 0.0)
    assert found == {name: expected[name] for name in REPORTED}
    assert np.array_equal(np.random.get_state()[1], before)  # training's draws stay what they are
    assert not (tmp_path / "none").exists()  # nothing is written: a home folder need not be writable
