"""The stacked fit: computes what the detector does, draws what it should, holds pages out, goes on when killed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECORDINGS
from datasets import Audio, Dataset, Features, Value
from transformers import Wav2Vec2FeatureExtractor, set_seed

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.architectures.compact.features_compact import levelled as levelled_clip
from deepfake.architectures.compact.features_compact import log_mel as log_mel_of_clip
from deepfake.audio.decode import encode_flac, load_audio
from deepfake.errors import UserError
from deepfake.models.checkpoint import Checkpoint
from deepfake.schema import FEATURES
from deepfake.scoring.detector import Detector
from deepfake.scoring.options import ScoringOptions
from deepfake.training.stacked import sound
from deepfake.training.stacked.audio import ClipAudio
from deepfake.training.stacked.fit import Averages, OneFit, StackedFit
from deepfake.training.stacked.held_out import BY_TELEPHONE, CLEAN, decide, judge_held_out, score_held_out
from deepfake.training.stacked.model import (
    KINDS_HEAD,
    StackedForward,
    detector_of,
    give_a_fresh_head,
    load_parameters,
    stacked_parameters,
)
from deepfake.training.stacked.options import STATE, StackedOptions
from deepfake.training.stacked.run import average_into
from deepfake.training.stacked.sampling import (
    FAKE,
    KINDS,
    REAL,
    ClipFacts,
    chosen_clips,
    deal_pages,
    drawing_weights,
    drawn_clips,
    fold_masks,
)

CPU = torch.device("cpu")
RATE = 16_000


def small_model(**changes: object) -> CompactForAudioClassification:
    set_seed(0)
    values = {
        "channels": 32, "layers": 2, "attention_heads": 4, "inner_width": 48, "pooled_width": 16, "pooling_width": 8,
    }  # fmt: skip
    model = CompactForAudioClassification(CompactConfig(**(values | changes))).eval()
    give_a_fresh_head(model, 0)
    return model


def rng_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch(speech: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Six stretches of speech of 3 s, two of them shorter, and their lengths."""
    counts = torch.tensor([48_000, 48_000, 48_000, 30_000, 48_000, 16_321])
    samples = torch.zeros(6, 48_000)
    for i, count in enumerate(counts.tolist()):
        samples[i, :count] = torch.tensor(speech[20_000 + 40_000 * i :][:count])
    return samples, counts


def test_each_of_the_stacked_models_computes_what_the_detector_computes(speech: np.ndarray) -> None:
    model = small_model(edge=0)
    parameters = stacked_parameters(model, 3, CPU)
    with torch.no_grad():
        for values in parameters.values():
            values.add_(0.05 * torch.randn_like(values))
        parameters["head.weight"].mul_(20)
    clips = [torch.tensor(speech[s : s + n]) for s, n in ((0, 48_000), (50_000, 33_333), (90_000, 16_000))]
    spectra = [log_mel_of_clip(levelled_clip(c, model.config), model.mel_filters, model.config).T for c in clips]
    mel = torch.nn.utils.rnn.pad_sequence(spectra, batch_first=True)
    own = torch.arange(mel.shape[1]) < torch.tensor([[len(s)] for s in spectra])
    forward = StackedForward(model.config, torch.float32)
    odds, kinds = forward(parameters, mel.expand(3, *mel.shape), own.expand(3, *own.shape))
    assert kinds.shape == (3, 3, len(KINDS))
    for number in range(3):
        alone = detector_of(model, parameters, number)
        with torch.no_grad():
            logits = torch.cat([alone(clip[None]).logits for clip in clips])
        assert torch.allclose(odds[number], logits[:, 1] - logits[:, 0], atol=1e-4)
    assert odds.std(0).min() > 0.01  # three models, not one


def test_products_in_bfloat16_stay_near() -> None:
    model = small_model()
    parameters = stacked_parameters(model, 2, CPU)
    mel, own = torch.randn(2, 4, 100, 80), torch.ones(2, 4, 100, dtype=torch.bool)
    exact, _ = StackedForward(model.config, torch.float32)(parameters, mel, own)
    rounded, _ = StackedForward(model.config, torch.bfloat16)(parameters, mel, own)
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, exact, atol=0.05)
    assert not torch.equal(rounded, exact)


def test_a_batch_of_whole_clips_has_the_detectors_own_spectrograms(batch: tuple) -> None:
    samples, counts = batch
    model = small_model(edge=0)
    config = model.config
    mel, own = sound.log_mel(sound.levelled(samples, counts), counts, model.mel_filters, config.mel_fft, config.mel_hop)
    for i in (0, 1, 2, 4):
        expected = log_mel_of_clip(levelled_clip(samples[i], config), model.mel_filters, config).T
        assert torch.allclose(mel[i], expected, atol=1e-3)
        assert own[i].all()
    assert own.sum(1).tolist() == (counts // 160).tolist()
    assert not mel[~own].any()


def test_channels_leave_level_padding_and_whatever_has_no_strength(batch: tuple) -> None:
    samples, counts = batch
    given = sound.levelled(samples, counts)
    for seed in range(5):
        heard = sound.augmented(given, counts, torch.tensor([1.0, 3.0, 1.0, 3.0, 0.0, 3.0]), rng_of(seed))
        rms = (heard.square().sum(1) / counts).sqrt()
        assert torch.allclose(rms, torch.full((6,), sound.LEVEL), rtol=1e-2)
        assert not heard[~sound.heard(counts, heard.shape[1])].any()
        assert torch.allclose(heard[4], given[4], atol=1e-5)
        assert not torch.allclose(heard[1], given[1], atol=1e-3)
        assert torch.equal(heard, sound.augmented(given, counts, torch.tensor([1.0, 3, 1, 3, 0, 3]), rng_of(seed)))


@pytest.mark.parametrize("effect", [*sound.BEFORE_THE_LINE, sound.CLIPPING, sound.LINE, sound.FLOOR])
def test_every_effect_changes_speech_and_keeps_its_shape(effect: sound.Effect, batch: tuple) -> None:
    samples, counts = batch
    given = sound.levelled(samples, counts)
    heard = effect.apply(given, given, counts, rng_of(1))
    assert heard.shape == given.shape
    assert torch.isfinite(heard).all()
    assert ((heard - given).square().mean(1).sqrt() > 1e-6 * sound.LEVEL).all()
    # Still the same speech: nothing here turns a clip into another.
    moved = torch.nn.functional.cosine_similarity(heard[:3], given[:3], dim=1)
    assert (moved > 0.3).all(), moved


def test_an_effect_is_applied_to_its_share_of_clips() -> None:
    samples, counts = torch.randn(400, 800), torch.full((400,), 800)
    doubled = sound.Effect(0.25, lambda x, batch, counts, rng: 2 * x)
    changed = (sound._applied(doubled, samples, counts, torch.ones(400), rng_of(0)) != samples).any(1)
    assert 70 < int(changed.sum()) < 130
    assert not (sound._applied(doubled, samples, counts, torch.zeros(400), rng_of(0)) != samples).any()


def test_a_telephone_passes_its_band_and_nothing_above() -> None:
    seconds = torch.arange(RATE) / RATE
    low, high = (0.3 * torch.sin(2 * torch.pi * hertz * seconds)[None] for hertz in (1000, 5000))
    limits = torch.tensor([[300.0]]), torch.tensor([[3400.0]])
    passed, stopped = sound.telephone(low, *limits), sound.telephone(high, *limits)
    assert torch.nn.functional.cosine_similarity(passed, low)[0] > 0.999
    assert passed.std() == pytest.approx(float(low.std()), rel=0.02)
    assert stopped.abs().max() < 1e-3


def test_bands_are_masked_in_a_part_of_the_clips_only() -> None:
    mel = torch.ones(500, 4, 80)
    masked = sound.band_masked(mel, torch.cat([torch.ones(250), torch.zeros(250)]), rng_of(0))
    hit = (masked == 0).any(2).any(1)
    assert not hit[250:].any()
    assert 40 < int(hit[:250].sum()) < 110
    assert int((masked == 0)[:, 0].sum(1).max()) == 13


# ---------------------------------------------------------------- which clips


def rows_of(clips: list[dict]) -> Dataset:
    """Rows of a dataset without audio."""
    columns = {name: value for name, value in FEATURES.items() if name not in ("audio", "duration_s", "start_s")}
    return Dataset.from_list([{name: clip.get(name) for name in columns} for clip in clips], Features(columns))


@pytest.fixture(scope="module")
def pages() -> Dataset:
    """Twelve pages of human clips and two generators each; every second page shows a generator of the page before."""
    clips = []
    for page in range(12):
        where = {"page": f"page {page}", "source": f"s{page}"}
        clips += [where | {"label": REAL, "kind": "human", "speaker": f"p{page}"} for _ in range(3 + page)]
        for generator in (f"tts {page}", f"tts {page - page % 2}", f"codec {page}"):
            kind = "codec" if generator.startswith("codec") else "tts"
            year = 2018 if page == 1 else 2024
            fake = where | {"label": FAKE, "kind": kind, "generator": generator, "year": year, "family": "VITS-like"}
            clips += [fake] * 4
    return rows_of(clips)


def test_a_fold_is_fitted_without_its_pages_and_without_every_generator_on_them(pages: Dataset) -> None:
    facts = ClipFacts.of(pages)
    fold = deal_pages(facts, 3)
    assert set(fold.tolist()) == {0, 1, 2}
    for number in range(3):
        fitted, held = fold_masks(facts, fold, number)
        assert not set(facts.page[fitted]) & set(facts.page[held])
        assert not set(facts.generator[fitted & (facts.label == FAKE)]) & set(facts.generator[held]) - {"human"}
        assert {REAL, FAKE} == set(facts.label[held].tolist()) == set(facts.label[fitted].tolist())
        assert np.array_equal(held, fold == number)
    sizes = [int(((fold == number) & (facts.label == REAL)).sum()) for number in range(3)]
    assert max(sizes) < 1.6 * min(sizes)


def test_folds_that_lack_a_class_are_refused() -> None:
    rows = rows_of([{"page": f"p{i}", "label": int(i > 0), "source": "s"} for i in range(5)])
    with pytest.raises(UserError, match="of 2 folds over 5 pages one lacks human clips; lower"):
        deal_pages(ClipFacts.of(rows), 2)


def test_no_generator_of_a_page_exceeds_its_cap_and_copies_can_be_left_out(pages: Dataset) -> None:
    facts = ClipFacts.of(pages)
    options = StackedOptions.of({"recent_cap": 3, "old_cap": 2, "copies_cap": 1})
    kept = facts[chosen_clips(pages, facts, options, 0)]
    for generator, page, kind in {*zip(kept.generator, kept.page, kept.kind, strict=True)}:
        if kind != "human":
            count = int(((kept.generator == generator) & (kept.page == page)).sum())
            assert count == (1 if kind == "codec" else 2 if page == "page 1" else 3)
    assert (kept.label == REAL).sum() == (facts.label == REAL).sum()
    without = facts[chosen_clips(pages, facts, dataclasses.replace(options, copies="out"), 0)]
    assert not without.copy.any()
    assert kept.copy.any()


def test_clips_are_left_out_where_all_columns_of_an_entry_match(pages: Dataset) -> None:
    facts = ClipFacts.of(pages)
    entries = [{"speaker": "p1[01]"}, {"page": "page 2", "kind": "human"}, {"generator": "tts 4"}]
    kept = chosen_clips(pages, facts, StackedOptions.of({"leave_out": entries, "recent_cap": 99}), 0)
    rows = pages.select(kept)
    assert not {"p10", "p11", "p2"} & set(rows["speaker"])
    assert "p1" in rows["speaker"]  # a pattern matches a whole value, not a part of it
    assert "tts 2" in rows["generator"]
    assert "tts 4" not in rows["generator"]


def test_what_a_dataset_does_not_know_falls_back_to_what_it_knows() -> None:
    clips = [
        {"label": REAL, "source": "a", "speaker": "anna"},
        {"label": FAKE, "source": "b", "group_id": "utterance 1", "speaker": "anna"},
        {"label": FAKE, "source": "c"},
    ]
    facts = ClipFacts.of(rows_of(clips))
    assert facts.page.tolist() == ["anna", "utterance 1", "c"]
    assert facts.kind.tolist() == ["human", "tts", "tts"]
    assert facts.generator.tolist() == ["human", "unknown of utterance 1", "unknown of c"]
    few = ClipFacts.of(rows_of(clips).select_columns(["label", "source"]))
    assert few.page.tolist() == ["a", "b", "c"]


def test_halves_of_a_batch_are_human_and_fake_and_larger_sources_weigh_by_their_root(pages: Dataset) -> None:
    facts = ClipFacts.of(pages)
    human, fake = drawing_weights(facts, np.ones(len(facts), bool), StackedOptions())
    assert human.sum() == pytest.approx(1)
    assert fake.sum() == pytest.approx(1)
    by_page = [human[facts.page == f"page {page}"].sum() for page in (0, 9)]
    assert by_page[1] / by_page[0] == pytest.approx((12 / 3) ** 0.5)
    of = {g: fake[facts.generator == g].sum() for g in ("tts 3", "codec 3", "tts 1")}
    assert of["codec 3"] / of["tts 3"] == pytest.approx(0.3)
    assert of["tts 1"] / of["tts 3"] == pytest.approx(0.6 * 0.7)
    draws = drawn_clips(human, fake, 50, 7, (1, 2))
    assert draws.shape == (50, 7)
    assert (facts.label[draws[:, :3]] == REAL).all()
    assert (facts.label[draws[:, 3:]] == FAKE).all()
    with pytest.raises(UserError, match="there are no fakes to fit on"):
        drawing_weights(facts, facts.label == REAL, StackedOptions())


def test_kinds_are_told_from_free_text() -> None:
    families = {"codec-LM": 3, "flow-matching": 4, "VITS-like": 5, "autoregressive mel": 6, "non-autoregressive mel": 7}
    rows = rows_of([{"label": FAKE, "kind": "tts", "family": f, "source": f} for f in families])
    assert ClipFacts.of(rows).target.tolist() == list(families.values())


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"seedz": 2}, "unknown key stacked.seedz; did you mean seeds"),
        ({"steps": "many"}, "stacked.steps is 'many'; expected a whole number"),
        ({"steps": 1.5}, "stacked.steps is 1.5; expected a whole number"),
        ({"folds": 1}, "expected 0, or at least 2"),
        ({"copies": "real"}, "expected one of auxiliary, fake, out"),
        ({"leave_out": ["p225"]}, "expected a list of mappings"),
        ({"leave_out": [{"speker": "p225"}]}, "names the column speker; did you mean speaker"),
        ({"leave_out": [{"speaker": "("}]}, "has a broken pattern"),
        ({"max_fpr": 0.7}, "expected above 0, at most 0.5"),
        ({"average": 1}, "expected 0 or more, below 1"),
    ],
)
def test_mistakes_in_the_mapping_are_one_sentence(mapping: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        StackedOptions.of(mapping)


def test_numbers_that_yaml_takes_for_words_are_numbers() -> None:
    options = StackedOptions.of({"encoder_rate": "6e-5", "strengths": [1, "0.8"]})
    assert options.encoder_rate == 6e-5
    assert options.strengths == (1.0, 0.8)


# ---------------------------------------------------------------- the loop


@pytest.fixture(scope="module")
def clips() -> Dataset:
    """Six stretches of each embedded recording's first 12 s, each recording a page of its own; fakes by two systems."""
    rows = []
    for path in sorted(RECORDINGS.glob("*/*.*")):
        samples = load_audio(path)
        for number in range(4):
            piece = samples[3 * RATE * number :][: 3 * RATE]
            label = int(path.parent.name == "fake")
            audio = {"bytes": encode_flac(piece), "path": f"{path.stem}_{number}.flac"}
            told = {
                "label": label,
                "source": path.name,
                "page": path.stem,
                "generator": path.stem if label else "human",
            }
            rows.append({"audio": audio, **told, "year": 2024 if label else None})
    columns = {name: FEATURES[name] for name in ("label", "source", "page", "generator", "year")}
    plain = {"bytes": Value("binary"), "path": Value("string")}
    rows = Dataset.from_list(rows, Features({"audio": plain, **columns}))
    return rows.cast_column("audio", Audio(RATE, decode=False))


@pytest.fixture(scope="module")
def audio(clips: Dataset) -> ClipAudio:
    return ClipAudio(clips, CPU, workers=1)


def fit_of(audio: ClipAudio, clips: Dataset, folder: Path, kind: type = StackedFit, **changes: object) -> StackedFit:
    values = {"steps": 6, "batch_size": 8, "crop_s": 1.5, "encoder_rate": 1e-3, "head_rate": 3e-3, "warmup_share": 0.0}
    options = StackedOptions.of(values | {"save_minutes": 0.0} | changes)
    facts = ClipFacts.of(clips.select(audio.kept))
    everything = np.ones(len(facts), dtype=bool)
    fits = [OneFit(everything, 0), OneFit(everything, 1, 0.5)]
    return kind(small_model(), audio, facts, fits, options, 3, CPU, torch.float32, folder)


class Killed(StackedFit):
    """A fit that somebody stops while its fourth step runs."""

    def _step(self, step: int) -> torch.Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return super()._step(step)


def test_a_fit_that_was_stopped_ends_as_one_that_was_not(audio: ClipAudio, clips: Dataset, tmp_path: Path) -> None:
    whole = fit_of(audio, clips, tmp_path).run()
    (tmp_path / STATE).unlink()
    with pytest.raises(KeyboardInterrupt):
        fit_of(audio, clips, tmp_path, Killed).run()
    assert (tmp_path / STATE).is_file()
    resumed = fit_of(audio, clips, tmp_path)
    again = resumed.run()
    for name, values in whole.parameters.items():
        assert torch.equal(values, again.parameters[name]), name
    assert again.history == whole.history
    assert [entry["step"] for entry in whole.history] == [6]


def test_a_state_of_another_model_is_refused(audio: ClipAudio, clips: Dataset, tmp_path: Path) -> None:
    torch.save({"parameters": [torch.zeros(3)]}, tmp_path / STATE)
    with pytest.raises(UserError, match="cannot go on from .*; delete it, or give --overwrite"):
        fit_of(audio, clips, tmp_path).run()


def test_the_models_learn_what_they_are_given(tmp_path: Path) -> None:
    """Hissing is told from humming after a few steps; all weights move, and their average follows."""
    rng = np.random.default_rng(0)
    noise = [np.convolve(rng.normal(size=RATE + 20), np.ones(20) / 20, "valid") for _ in range(12)]
    sounds = [one if i % 2 else np.diff(rng.normal(size=RATE + 1)) for i, one in enumerate(noise)]
    rows = [
        {"audio": {"bytes": encode_flac((0.05 * one).astype(np.float32)), "path": f"{i}.flac"}, "label": i % 2}
        | {"source": str(i)}
        for i, one in enumerate(sounds)
    ]
    planted = Dataset.from_list(rows)
    fit = fit_of(ClipAudio(planted, CPU, workers=1), planted, tmp_path, steps=20, crop_s=0.8, head_rate=1e-2)
    mel, own, drawn, _ = fit.batch(0)
    with torch.no_grad():
        before, _ = fit.losses(mel, own, drawn)
    fit.run()
    with torch.no_grad():
        after, _ = fit.losses(mel, own, drawn)
    assert (after < before - 0.1).all()
    start = stacked_parameters(small_model(), 2, CPU)
    for name, values in fit.parameters.items():
        moved = (values - start[name]).flatten(1).norm(dim=1)
        lag = (values - fit.state.average[list(fit.parameters).index(name)]).flatten(1).norm(dim=1)
        assert (moved > 0).all(), name
        assert (lag < moved).all(), name


def test_copies_teach_the_second_head_and_not_the_first(audio: ClipAudio, clips: Dataset, tmp_path: Path) -> None:
    def gradients(**changes: object) -> tuple[torch.Tensor, torch.Tensor]:
        fit = fit_of(audio, clips, tmp_path, **changes)
        facts = ClipFacts.of(clips.select(audio.kept))
        copies = torch.tensor(facts.label == FAKE)
        fit.counts = torch.where(copies, 0.0, 1.0) if fit.options.copies == "auxiliary" else torch.ones(len(facts))
        mel, own, drawn, _ = fit.batch(0)
        mel, own, drawn = (x[:, 4:] for x in (mel, own, drawn))  # fakes alone
        _, whole = fit.losses(mel, own, drawn)
        found = torch.autograd.grad(
            whole.sum(), [fit.parameters[name] for name in ("head.weight", KINDS_HEAD[0])], allow_unused=True
        )
        return found[0], found[1]

    head, kinds = gradients(copies="auxiliary")
    assert not head.any()
    assert kinds.any()
    assert gradients(copies="fake")[0].any()


def test_the_average_is_of_the_seeds_alone_and_loses_nothing_in_its_file(tmp_path: Path) -> None:
    model = small_model()
    parameters = {name: values.detach() for name, values in stacked_parameters(model, 5, CPU).items()}
    for number in range(5):
        parameters["head.bias"][number] = 100.0 if number < 2 else float(number)
    average_into(model, Averages(parameters, []), folds=2)
    assert model.head.bias.item() == 3.0
    assert all(torch.equal(p.half().float(), p) for p in model.parameters())
    with pytest.raises(ValueError, match="another architecture"):
        load_parameters(small_model(layers=1), {name: values[0] for name, values in parameters.items()})


def test_clips_that_cannot_be_used_or_are_there_twice_are_left_out(clips: Dataset) -> None:
    rows = clips.select([0, 0, 1, 2, 3])
    silent = {"bytes": encode_flac(np.zeros(RATE, np.float32)), "path": "silent.flac"}
    broken = {"bytes": b"no audio", "path": "broken.flac"}
    features = rows.features
    rows = Dataset.from_list(
        [
            row | {"audio": given}
            for row, given in zip(
                rows, [rows[0]["audio"], rows[0]["audio"], silent, broken, rows[4]["audio"]], strict=True
            )
        ],
    ).cast(features)
    held = ClipAudio(rows, CPU, workers=1)
    assert held.kept.tolist() == [0, 4]
    crops, counts = held.crops(torch.tensor([0, 1, 0]), 4 * RATE, rng_of(0))
    assert counts.tolist() == [3 * RATE] * 3
    assert torch.equal(crops[0], crops[2])
    assert not crops[:, 3 * RATE :].any()
    assert crops[:, : 3 * RATE].square().mean(1).sqrt().numpy() == pytest.approx(sound.LEVEL, rel=0.01)
    with pytest.raises(UserError, match="none of the 1 clips to fit on can be used"):
        ClipAudio(rows.select([2]), CPU, workers=1)


# ---------------------------------------------------------------- what was held out


def test_held_out_clips_are_scored_as_recordings_are_and_promises_hold_over_pages(clips: Dataset) -> None:
    facts = ClipFacts.of(clips)
    fold = deal_pages(facts, 2)
    models = [small_model() for _ in range(2)]
    with torch.no_grad():
        models[1].head.bias.add_(2.0)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    detectors = [Detector(Checkpoint(m, extractor, 1, None, 13.0, 13.0), ScoringOptions(workers=0)) for m in models]
    held = score_held_out(clips, facts, fold, ~facts.copy, lambda number: detectors[number])
    for i in (0, 5, 30):
        expected = detectors[fold[i]].analyse(clips[i]["audio"]["bytes"], with_timeline=False).logit
        assert held.logits[CLEAN][i] == pytest.approx(expected, abs=1e-5)
    assert not np.allclose(held.logits[CLEAN], held.logits[BY_TELEPHONE], atol=1e-3)
    judge = decide(held, 0.05)
    point = judge.decisions.points["fpr_0.05"]
    assert judge.threshold.value == point.threshold
    assert point.n_real == 2 * (facts.label == REAL).sum()  # both conditions
    assert point.n_real_groups == len(set(facts.page[facts.label == REAL].tolist()))
    sets = judge_held_out(held, judge, resamples=100)
    assert set(sets) == {CLEAN, BY_TELEPHONE}
    assert sets[CLEAN].n == len(clips)
    assert {part.name for part in sets[CLEAN].breakdowns["year"]} == {"2024"}
