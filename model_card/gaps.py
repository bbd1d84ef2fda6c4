"""What a run's results cannot carry, each as one sentence for the card."""

from __future__ import annotations

from typing import Any

# Below this many recordings of a class, resampling recordings says little about new ones.
MIN_RECORDINGS = 10


def gaps(results: dict[str, Any]) -> list[str]:
    """Sentences to print beside the numbers of `results`; never empty while no out-of-domain set was measured."""
    found = []
    data = results["data"]
    if data["recordings_in_several_splits"]:
        found.append(
            f"{data['recordings_in_several_splits']} recordings occur in more than one split: the results are inflated."
        )
    if any(facts[label]["recordings"] is None for facts in data["splits"].values() for label in ("real", "fake")):
        found.append("The dataset does not record which recording a clip was cut from: leakage cannot be excluded.")
    for split in ("validation", "test"):
        if split not in results:
            found.append(f"There is no {split} split: the {'threshold' if split == 'validation' else 'results'} "
                         "were not checked on clips that played no part in choosing them.")  # fmt: skip
            continue
        recordings = results[split]["recordings"]
        if min(recordings.values()) < MIN_RECORDINGS:
            counts = f"{recordings['real']} real and {recordings['fake']} fake recordings"
            found.append(f"The {split} split is cut from {counts}: too few to say how the model does on new ones.")
    if "generalisation" not in results:
        found.append("No out-of-domain set was measured: other generators, speakers and channels are untested.")
    if not results["model"]["from_scratch"] and "base" not in results:
        found.append("The start checkpoint was not measured on the same clips: the gain from fine-tuning is unknown.")
    return found
