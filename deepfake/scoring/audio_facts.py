"""What makes a recording's score less sure: limits of its sound, noticed while it passes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, AudioReader
from deepfake.audio.measures import Measures, measure
from deepfake.audio.stated import MAX_DURATION_GAP_S, MAX_DURATION_GAP_SHARE
from deepfake.audio.windows import SpeechTrack

MIN_EVIDENCE_S = 1.5  # of speech; less is too little to judge by
MEASURED_S = 60  # of the beginning: enough to know the line and the room
NARROW_HZ = 4300.0  # a telephone's band ends at 3.4 kHz, and sampling at 8 kHz allows 4
_CLIPPED_FROM, _CLIPPED_SHARE = 0.985, 1e-3
_LOW_DBFS, _NOISY_DB = -42.0, 15.0
_OTHER_SOUND_SHARE = 0.5
_SAME_CHANNELS = 0.9  # correlation
_SILENT_CHANNEL = 1e-4  # of the power of the loudest, 40 dB below it
_CANCELLED = 1e-2  # of the channels' power in their mean, 20 dB below it


@dataclass(frozen=True)
class AudioWarning:
    """A `code` for programs, and a `text` for people, which begins with a fixed word or two and a colon."""

    code: str
    text: str

    @property
    def sentence(self) -> str:
        """The text with a capital and a full stop."""
        return f"{self.text[0].upper()}{self.text[1:]}."


def warnings_of(facts: AudioFacts | None, track: SpeechTrack) -> tuple[AudioWarning, ...]:
    """What to know of a recording, of which only where it has speech was noticed where there are no `facts`."""
    return _told(_of_speech(track)) if facts is None else facts.warnings(track)


class AudioFacts:
    """Hears the blocks of one recording, and tells in the end what to know before believing its score.

    Attributes:
        measures: of the first `MEASURED_S`; None before `ended` and where nothing was heard.
        stated_s: duration by the recording's header, in seconds; None where it says nothing.
        cancelled_db: how much quieter than alone the channels are when mixed, where that is so much that they cancel.
    """

    def __init__(self) -> None:
        self.measures: Measures | None = None
        self.stated_s: float | None = None
        self.cancelled_db: float | None = None
        self._samples = self._clipped = 0
        self._beginning: list[np.ndarray] = []
        self._damaged = (0, 0)  # packets that could not be decoded, and packets
        self._correlation: float | None = None  # the lowest of two channels that are not silent

    def hear(self, block: np.ndarray) -> None:
        """Hear the next float32 16 kHz mono samples of shape (samples,)."""
        left = MEASURED_S * SAMPLING_RATE - self._samples
        if left > 0:
            self._beginning.append(block[:left].copy())  # a view would keep the whole block
        self._samples += len(block)
        self._clipped += int(np.count_nonzero(np.abs(block) >= _CLIPPED_FROM))

    def ended(self, reader: AudioReader | None = None) -> None:
        """The recording has ended; `reader` is what decoded it, None for plain samples."""
        if self._samples:
            self.measures = measure(np.concatenate(self._beginning))
        self._beginning = []
        if reader is None:
            return
        self.stated_s = reader.info.stated_s
        self._damaged = reader.corrupt_packets, reader.packets
        if reader.channel_products is not None:
            self._compare(reader.channel_products)

    def warnings(self, track: SpeechTrack) -> tuple[AudioWarning, ...]:
        """What to know, given where there is speech; nothing where nothing was heard."""
        if self.measures is None:
            return ()
        found = {
            **_of_speech(track),
            "clipped": self._loud(),
            "low_level": self._quiet(),
            "narrowband": self._narrow(),
            "noise": self._noisy(),
            "music_or_noise": self._other_sound(track),
            "different_channels": self._channels(),
            "truncated": self._cut(),
            "damaged": self._damage(),
        }
        return _told(found)

    def _loud(self) -> str | None:
        share = self._clipped / self._samples
        return f"clipped: {100 * share:.1f} % of the samples are at full scale" if share > _CLIPPED_SHARE else None

    def _quiet(self) -> str | None:
        level = self.measures.level_dbfs
        return f"very quiet: {level:.0f} dBFS" if level < _LOW_DBFS else None

    def _narrow(self) -> str | None:
        band = self.measures.bandwidth_hz
        return f"narrow band: nothing above {band / 1000:.1f} kHz, as by telephone" if band <= NARROW_HZ else None

    def _noisy(self) -> str | None:
        over = self.measures.level_dbfs - self.measures.noise_floor_dbfs
        return f"noisy: the sound is only {over:.0f} dB above its background" if over < _NOISY_DB else None

    def _other_sound(self, track: SpeechTrack) -> str | None:
        measured = min(self._samples, MEASURED_S * SAMPLING_RATE)
        sound_s = (1 - self.measures.silence_share) * measured / SAMPLING_RATE
        heard_s = track.speech_s(0, measured)
        if not track.detects or sound_s <= 2 or heard_s >= (1 - _OTHER_SOUND_SHARE) * sound_s:
            return None
        return f"music or noise: {100 * (1 - heard_s / sound_s):.0f} % of the sound is no speech"

    def _channels(self) -> str | None:
        if self.cancelled_db is not None:
            return (
                f"channels cancel: mixed, they are {self.cancelled_db:.0f} dB quieter than alone, as where one is the "
                "other turned over; score each by itself"
            )
        if self._correlation is None or self._correlation >= _SAME_CHANNELS:
            return None
        return (
            f"channels differ: correlation {self._correlation:.2f}, as of two speakers on a line; score each by itself"
        )

    def _cut(self) -> str | None:
        duration_s, stated_s = self._samples / SAMPLING_RATE, self.stated_s
        if not stated_s or stated_s - duration_s <= max(MAX_DURATION_GAP_S, MAX_DURATION_GAP_SHARE * stated_s):
            return None
        return f"truncated: only {duration_s:.1f} s of the {stated_s:.1f} s that it states could be decoded"

    def _damage(self) -> str | None:
        bad, packets = self._damaged
        return f"damaged: {bad} of {packets} packets could not be decoded" if bad else None

    def _compare(self, products: np.ndarray) -> None:
        """From sums of products of shape (channels, channels)."""
        power = np.diag(products)
        heard = power > _SILENT_CHANNEL * power.max(initial=0.0)
        if heard.sum() < 2:
            return
        among = products[np.ix_(heard, heard)]
        mixed = among.sum() / (len(among) * np.trace(among))  # power of the mean over the mean power
        if mixed < _CANCELLED:
            self.cancelled_db = float(-10 * np.log10(max(mixed, 1e-10)))
        own = np.sqrt(np.diag(among))
        self._correlation = float((among / np.outer(own, own)).min())


def _of_speech(track: SpeechTrack) -> dict[str, str | None]:
    """Warnings by their codes; None where there is nothing to say."""
    speech_s = track.speech_s(0, track.samples)
    little = f"little speech: only {speech_s:.1f} s, too little to judge by" if speech_s < MIN_EVIDENCE_S else None
    off = None if track.detects else "speech detection off: all of it was scored as if it were speech"
    faint = "faint speech: it was only heard in a second look, which is more sensitive" if track.faint else None
    return {"speech_detection_off": off, "faint_speech": faint, "short_speech": little}


def _told(found: Mapping[str, str | None]) -> tuple[AudioWarning, ...]:
    return tuple(AudioWarning(code, text) for code, text in found.items() if text is not None)
