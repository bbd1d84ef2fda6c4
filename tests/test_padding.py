"""The padding share is what a hand would count."""

from __future__ import annotations

import pytest
from conftest import ROOT, SMALL
from transformers import set_seed

from deepfake.training.arguments import parse_recipe
from deepfake.training.callbacks import describe_padding, padding_share
from deepfake.training.data import load_splits
from deepfake.training.model import load_feature_extractor, load_model
from deepfake.training.trainer import build_trainer


def test_share_by_hand() -> None:
    assert padding_share([[4, 2], [6, 6, 3]]) == pytest.approx(5 / 26)
    assert padding_share([[3, 3]]) == 0.0
    assert padding_share([]) == 0.0


def test_grouping_by_length_pads_less_and_crops_count() -> None:
    durations = [2.0, 13.0, 3.0, 12.0, 2.5, 20.0, 4.0, 8.0] * 20
    found = describe_padding([], durations, 4, 13.0, packed=False)
    assert found["grouped_by_length"] < 0.5 * found["in_random_order"]
    assert describe_padding([], [20.0, 13.0, 40.0], 3, 13.0, packed=False)["in_random_order"] == 0.0
    assert "in_random_order" not in describe_padding([], None, 4, 13.0, packed=True)


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_every_epoch_is_counted(strategy: str, dataset_dir, tmp_path) -> None:
    recipe = parse_recipe(
        ["--config", str(ROOT / "configs/tiny.yaml"), *SMALL, "--dataset", "D", "--output_dir", str(tmp_path),
         "--num_train_epochs", "2", "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end",
         "false", "--early_stopping_patience", "0", "--train_sampling_strategy", strategy, "--max_duration_s", "13"]
    )  # fmt: skip
    dataset = load_splits(str(dataset_dir))
    clips = len(dataset["train"])
    shortest_and_longest = [0, 1, 2, clips - 3, clips - 2, clips - 1]
    dataset["train"] = dataset["train"].sort("duration_s").select(shortest_and_longest)
    set_seed(0)
    model = load_model(recipe)
    trainer = build_trainer(recipe, model, load_feature_extractor(recipe, model.config), dataset)
    seen: list[list[int]] = []
    collate = trainer.data_collator
    trainer.data_collator = lambda rows: seen.append([round(16_000 * r["duration_s"]) for r in rows]) or collate(rows)
    trainer.train()
    logged = [entry["padding_share"] for entry in trainer.state.log_history if "padding_share" in entry]
    epochs = [seen[:2], seen[2:]]  # six clips in batches of four
    assert logged == pytest.approx([padding_share(epoch) for epoch in epochs], abs=1e-3)
    assert all(0 < share < 0.6 for share in logged)
