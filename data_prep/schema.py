"""The one table: every corpus reader yields recordings, every chunk keeps these columns."""

from __future__ import annotations

from datasets import Audio, ClassLabel, Features, Value

from data_prep.audio import SAMPLING_RATE
from data_prep.labels import LABELS

SPLITS = ("train", "validation", "test")

# decode=False: rows are {"bytes", "path"} and we decode ourselves; datasets' own decoding needs torchcodec.
FEATURES = Features(
    {
        "audio": Audio(SAMPLING_RATE, decode=False),
        "label": ClassLabel(names=list(LABELS)),
        "source": Value("string"),  # the recording it was cut from: "<first 16 hex digits of its sha256>:<name>"
        "start_s": Value("float64"),  # within the recording resampled to 16 kHz; start_s * 16000 is a whole number
        "duration_s": Value("float64"),
        # Silence cut out of the chunk on request (--gap-ms); 0: the chunk is the recording's samples, unbroken.
        "gap_removed_s": Value("float64"),
        "speaker": Value("string"),  # null when unknown, as for the next three
        "generator": Value("string"),  # "human" for real speech
        "language": Value("string"),
        "corpus": Value("string"),
        "split": Value("string"),
    }
)
