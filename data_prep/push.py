"""A finished dataset to the Hub, with its card."""

from __future__ import annotations

from pathlib import Path

from datasets import load_from_disk
from huggingface_hub import DatasetCard

from data_prep.writing import CARD_NAME
from deepfake.errors import UserError
from deepfake.hub import cache_only, first_line


def push(folder: Path, repo_id: str) -> None:
    """Push a finished dataset to the Hub.

    Raises:
        UserError: the Hub could not be reached or refused; the dataset on disk stays as it is.
    """
    try:
        if cache_only():
            raise ConnectionError("the Hub cannot be reached from here")
        load_from_disk(str(folder)).push_to_hub(repo_id)
        if (folder / CARD_NAME).is_file():
            merged_card(folder / CARD_NAME, DatasetCard.load(repo_id)).push_to_hub(repo_id, repo_type="dataset")
    except Exception as error:  # no network, no token, no permission: each library layer has its own exception
        raise UserError(
            f"the dataset is finished in {folder} but could not be pushed to {repo_id} ({first_line(error)}); "
            f"check the network and `hf auth login`, then push it with: python -m data_prep push {folder} {repo_id}"
        ) from error


def merged_card(ours: Path, pushed: DatasetCard) -> DatasetCard:
    """Our card with what `push_to_hub` wrote about files and columns, without which the Hub cannot load the data."""
    card = DatasetCard(ours.read_text(encoding="utf-8"))
    told = pushed.data.to_dict()
    for key in ("configs", "dataset_info"):
        if key in told:
            setattr(card.data, key, told[key])
    return card
