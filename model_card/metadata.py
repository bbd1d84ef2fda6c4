"""The card's metadata: what the Hub reads, filters and ranks by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from huggingface_hub import EvalResult, ModelCardData

from deepfake.judging.record import Gap
from deepfake.judging.run import DataFacts, ModelFacts
from model_card import tables
from model_card.record import Record

TASK = "audio-classification"
HUB_METRICS = {"roc_auc": "roc_auc", "eer": "eer", "accuracy": "accuracy", "f1_fake": "f1"}
# The Hub lists a model under each of its languages: with fewer clips in training it has not learnt one.
MIN_LANGUAGE_CLIPS = 20
_CODE = re.compile(r"[a-z]{2,3}")  # ISO 639-1 or 639-3
_NO_LANGUAGE = ("und", "zxx", "mis", "mul")  # ISO 639's words for an unknown one, none, an uncoded one and several


def card_metadata(record: Record, name: str, gaps: Sequence[Gap]) -> ModelCardData:
    """The metadata of a detector.

    Args:
        name: under which the model is loaded.
        gaps: of its evidence; results that one of them disqualifies are not offered for ranking.
    """
    facts = record.run.facts
    # Fields of the Hub that ModelCardData does not know by name; it writes none that is None.
    relation = {"base_model_relation": "finetune"} if _fine_tuned(facts.model) else {}
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag=TASK,
        license=facts.license,
        language=languages(_of_training(facts.data)) or None,
        base_model=facts.model.base_model,
        datasets=[facts.data.name] if _on_the_hub(facts.data.name) else None,
        tags=["audio", "speech", "deepfake-detection", "anti-spoofing", facts.model.model_type],
        metrics=list(HUB_METRICS.values()),
        eval_results=_results(record, gaps) or None,
        **relation,
    )


def languages(clips: Mapping[str, int]) -> list[str]:
    """ISO codes of the languages with `MIN_LANGUAGE_CLIPS` or more clips, sorted.

    Args:
        clips: by language as datasets write it: "en", "en-GB", "en/zh" or "en|zh" for two in one clip, "und", "multi".
    """
    counts: Counter[str] = Counter()
    for written, n in clips.items():
        codes = {tag.split("-")[0].lower() for tag in re.split(r"[/|,; ]+", written)}
        counts.update(dict.fromkeys((code for code in codes if _CODE.fullmatch(code)), n))
    return sorted(code for code, n in counts.items() if n >= MIN_LANGUAGE_CLIPS and code not in _NO_LANGUAGE)


def _of_training(data: DataFacts) -> Mapping[str, int]:
    train = data.splits.get("train")
    return train.languages if train else {}


def _fine_tuned(model: ModelFacts) -> bool:
    return model.base_model is not None and not model.from_scratch


def _on_the_hub(name: str) -> bool:
    """Whether a dataset's name is one of the Hub's, OWNER/NAME, and no folder's of somebody's disk."""
    return name.count("/") == 1


def _results(record: Record, gaps: Sequence[Gap]) -> list[EvalResult]:
    if any(gap.disqualifies for gap in gaps):
        return []
    dataset = record.run.facts.data.name
    return [
        EvalResult(
            task_type=TASK,
            task_name="Audio deepfake detection",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=split,
            metric_type=hub_name,
            metric_name=tables.METRICS[key],
            metric_value=round(value, 4),
        )
        for split, judged in reversed(tables.in_domain(record).items())
        for key, hub_name in HUB_METRICS.items()
        if (value := judged.value(key)) is not None
    ]
