"""Spectrogram detectors: mel or MFCC features, a convolutional, graph or recurrent backbone, a linear head.

Made to be shipped beside their weights: imports nothing of the project, and of others only torch, numpy and
transformers. Importing it registers the architecture with the Auto classes, so that no `trust_remote_code` is needed
here.
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from .configuration_spectrogram import SpectrogramConfig
from .feature_extraction_spectrogram import SpectrogramFeatureExtractor
from .modeling_spectrogram import SpectrogramForAudioClassification

AutoConfig.register(SpectrogramConfig.model_type, SpectrogramConfig, exist_ok=True)
AutoFeatureExtractor.register(SpectrogramConfig, SpectrogramFeatureExtractor, exist_ok=True)
AutoModelForAudioClassification.register(SpectrogramConfig, SpectrogramForAudioClassification, exist_ok=True)
SpectrogramConfig.register_for_auto_class()
SpectrogramFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
SpectrogramForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")

__all__ = ["SpectrogramConfig", "SpectrogramFeatureExtractor", "SpectrogramForAudioClassification"]
