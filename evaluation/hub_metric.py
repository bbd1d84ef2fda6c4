"""`DetectionMetric` for other people's pipelines; see `deepfake.metrics.hub_metric`."""

from deepfake.metrics.hub_metric import DetectionMetric

__all__ = ["DetectionMetric"]
