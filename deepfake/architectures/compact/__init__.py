"""A compact detector: low layers of Whisper's encoder, pooled with attention, and one linear head.

Made to be shipped beside its weights: imports nothing of the project, and of others only torch, numpy and transformers.
Importing it registers the architecture with the Auto classes, so that no `trust_remote_code` is needed here.
"""

from transformers import AutoConfig, AutoModelForAudioClassification

from .configuration_compact import CompactConfig
from .modeling_compact import CompactForAudioClassification

AutoConfig.register(CompactConfig.model_type, CompactConfig, exist_ok=True)
AutoModelForAudioClassification.register(CompactConfig, CompactForAudioClassification, exist_ok=True)
CompactConfig.register_for_auto_class()
CompactForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")

__all__ = ["CompactConfig", "CompactForAudioClassification"]
