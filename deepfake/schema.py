"""The one table: every corpus reader yields recordings, every chunk keeps these columns."""

from __future__ import annotations

from datasets import Audio, ClassLabel, Features, Value

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.labels import LABELS

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
        "speaker": Value("string"),  # null when unknown, as for all that follow
        "generator": Value("string"),  # "human" for real speech
        "language": Value("string"),
        "corpus": Value("string"),
        "split": Value("string"),
        # What some corpora tell besides, for folds and for reports by more than the generator.
        "group_id": Value("string"),  # recordings of one utterance or one voice share it
        "page": Value("string"),  # the place it was published at, e.g. a repository: one recording chain, one encoder
        "kind": Value("string"),  # e.g. human, tts, vc, codec, copysyn
        "family": Value("string"),  # the coarse architecture of the generator
        "year": Value("int32"),
        "licence": Value("string"),
    }
)
