"""Readers: the real corpora's names and protocol formats, on small trees, into one schema."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Audio, ClassLabel, Dataset

from data_prep import arguments
from data_prep.inputs import read_inputs, sample_per_class
from data_prep.layouts import LAYOUT_NAMES, remote
from deepfake.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(tmp_path, root, layout="auto"):
    return read_inputs([root], layout, tmp_path / "downloads")


def facts(found) -> dict[str, tuple]:
    """file name → (label, speaker, generator, language, split, group)"""
    return {Path(r.file.name).name: (r.label, r.speaker, r.generator, r.language, r.split, r.group) for r in found.rows}


def asvspoof2019(root: Path) -> None:
    protocols = root / "LA/ASVspoof2019_LA_cm_protocols"
    write(
        protocols / "ASVspoof2019.LA.cm.train.trn.txt",
        "LA_0079 LA_T_1138215 - - bonafide",
        "LA_0079 LA_T_1004644 - A01 spoof",
        "LA_0080 LA_T_9999999 - A02 spoof",
    )
    write(protocols / "ASVspoof2019.LA.cm.dev.trl.txt", "LA_0069 LA_D_1047731 - - bonafide")
    write(protocols / "ASVspoof2019.LA.cm.eval.trl.txt", "LA_0039 LA_E_2834763 - A11 spoof")
    write(
        root / "LA/ASVspoof2019_LA_asv_protocols/ASVspoof2019.LA.asv.dev.gi.trl.txt", "LA_0069 LA_D_1 bonafide target"
    )
    touch(
        root / "LA",
        "ASVspoof2019_LA_train/flac/LA_T_1138215.flac",
        "ASVspoof2019_LA_train/flac/LA_T_1004644.flac",
        "ASVspoof2019_LA_dev/flac/LA_D_1047731.flac",
        "ASVspoof2019_LA_dev/flac/LA_D_A9644617.flac",
        "ASVspoof2019_LA_eval/flac/LA_E_2834763.flac",
    )


def test_asvspoof2019_la(tmp_path):
    asvspoof2019(tmp_path / "data")
    for layout in ("auto", "asvspoof2019_la"):
        found = read(tmp_path, tmp_path / "data", layout)
        assert facts(found) == {
            "LA_T_1138215.flac": ("real", "LA_0079", "human", "en", "train", None),
            "LA_T_1004644.flac": ("fake", "LA_0079", "A01", "en", "train", None),
            "LA_D_1047731.flac": ("real", "LA_0069", "human", "en", "validation", None),
            "LA_E_2834763.flac": ("fake", "LA_0039", "A11", "en", "test", None),
        }
        (reading,) = found.readings
        assert reading["layout"] == "asvspoof2019_la"
        assert reading["unlisted"] == reading["listed_but_absent"] == 1, "enrolment speech is not the protocol's"
        assert reading["absent_examples"] == ["LA_T_9999999"]


def test_a_damaged_protocol_names_the_line(tmp_path):
    asvspoof2019(tmp_path / "data")
    path = tmp_path / "data/LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.dev.trl.txt"
    write(path, "LA_0069 LA_D_1047731 - -")
    with pytest.raises(UserError, match=r"line 1 of .*dev\.trl\.txt has 4 columns, expected 5"):
        read(tmp_path, tmp_path / "data")
    write(path, "LA_0079 LA_T_1138215 - A01 spoof")
    with pytest.raises(UserError, match="1 utterances as real and fake, e.g. LA_T_1138215"):
        read(tmp_path, tmp_path / "data")


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_asvspoof5(tmp_path, separator):
    root = tmp_path / "ASVspoof5"
    line = separator.join
    write(
        root / "ASVspoof5.train.tsv",
        line(["T_4850", "T_0000000000", "F", "-", "-", "-", "AC3", "A05", "spoof", "-"]),
        line(["T_0840", "T_0000000001", "M", "-", "-", "-", "-", "bonafide", "bonafide", "-"]),
    )
    write(
        root / "ASVspoof5.dev.track_1.tsv",
        line(["D_0062", "D_0000000001", "F", "-", "-", "-", "AC1", "A11", "spoof", "-"]),
    )
    write(
        root / "ASVspoof5.eval.track_1.tsv",
        line(["E_1607", "E_0009538969", "M", "C05", "1", "E_0000000", "-", "bonafide", "bonafide", "-"]),
    )
    write(root / "ASVspoof5.dev.enroll.txt", "D_3755 D_A0000000004,D_A0000000037")
    touch(root, "flac_T/T_0000000000.flac", "flac_T/T_0000000001.flac", "flac_D/D_0000000001.flac")
    touch(root, "flac_D/D_A0000000004.flac", "flac_E_eval/E_0009538969.flac")
    found = read(tmp_path, root)
    assert facts(found) == {
        "T_0000000000.flac": ("fake", "T_4850", "A05", "en", "train", None),
        "T_0000000001.flac": ("real", "T_0840", "human", "en", "train", None),
        "D_0000000001.flac": ("fake", "D_0062", "A11", "en", "validation", None),
        "E_0009538969.flac": ("real", "E_1607", "human", "en", "test", None),
    }
    assert found.readings[0]["unlisted_examples"] == ["ASVspoof5/flac_D/D_A0000000004.flac"]


@pytest.mark.parametrize("version", ["for-norm/for-norm", "for-2sec/for-2seconds", "for-original", "for-rerec", "."])
def test_fake_or_real(tmp_path, version):
    root = tmp_path / "archive"
    touch(
        root / version,
        "training/real/file1.wav_16k.wav_norm.wav_mono.wav_silence.wav",
        "training/fake/file2.wav_16k.wav",
        "validation/real/file3.wav",
        "testing/fake/file4.wav",
    )
    found = read(tmp_path, root)
    assert found.readings[0]["layout"] == "for"
    told = {name.split(".")[0]: values for name, values in facts(found).items()}
    assert {name: (v[0], v[4]) for name, v in told.items()} == {
        "file1": ("real", "train"),
        "file2": ("fake", "train"),
        "file3": ("real", "validation"),
        "file4": ("fake", "test"),
    }


def test_versions_of_fake_or_real_share_their_utterances(tmp_path):
    for version in ("for-norm", "for-original"):
        touch(
            tmp_path / "data" / version, "training/real/file1.wav", "training/fake/file1.wav", "testing/fake/file1.wav"
        )
    rows = read(tmp_path, tmp_path / "data").rows
    groups = [row.group for row in rows]
    assert len(set(groups)) == 3, "the same number in another class or split is another utterance"
    assert all(groups.count(group) == 2 for group in groups)


def test_in_the_wild(tmp_path):
    root = tmp_path / "release_in_the_wild"
    write(root / "meta.csv", "file,speaker,label", "0.wav,Alec Guinness,spoof", "1.wav,Alec Guinness,bona-fide")
    touch(root, "0.wav", "1.wav", "2.wav")
    found = read(tmp_path, root)
    assert facts(found) == {
        "0.wav": ("fake", "Alec Guinness", None, "en", None, None),
        "1.wav": ("real", "Alec Guinness", "human", "en", None, None),
    }
    assert found.readings[0]["layout"] == "in_the_wild"
    assert found.readings[0]["unlisted"] == 1


def test_wavefake(tmp_path):
    root = tmp_path / "wavefake"
    touch(
        root / "generated_audio",
        "ljspeech_melgan/LJ001-0001_gen.wav",
        "ljspeech_full_band_melgan/LJ001-0001_gen.wav",
        "jsut_parallel_wavegan/BASIC5000_0001_gen.wav",
        "common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0.wav",
    )
    touch(root, "LJSpeech-1.1/wavs/LJ001-0001.wav", "jsut_ver1.1/basic5000/wav/BASIC5000_0001.wav", "readme.wav")
    found = read(tmp_path, root)
    told = {row.file.name.removeprefix("wavefake/"): row for row in found.rows}
    assert found.readings[0]["layout"] == "wavefake"
    assert found.readings[0]["unlisted_examples"] == ["wavefake/readme.wav"]
    melgan = told["generated_audio/ljspeech_melgan/LJ001-0001_gen.wav"]
    original = told["LJSpeech-1.1/wavs/LJ001-0001.wav"]
    assert (melgan.label, melgan.generator, melgan.speaker, melgan.language) == ("fake", "melgan", "ljspeech", "en")
    assert (original.label, original.generator) == ("real", "human")
    assert melgan.group == original.group == "LJ001-0001"
    assert told["generated_audio/ljspeech_full_band_melgan/LJ001-0001_gen.wav"].generator == "full_band_melgan"
    assert told["jsut_ver1.1/basic5000/wav/BASIC5000_0001.wav"].language == "ja"
    assert len(told) == 6


def test_mlaad_with_its_bona_fide_source(tmp_path):
    root = tmp_path / "MLAADv5"
    model = "fake/en/tts_models_en_ljspeech_fast_pitch"
    write(
        root / model / "meta.csv",
        "path|original_file|language|is_original_language|duration|training_data|model_name|architecture|transcript",
        f"./{model}/emma_01.wav|en_US/by_book/female/mary_ann/emma/wavs/emma_01.wav|en|True|5.1|LJSpeech|"
        'fast_pitch|FastPitch|He said "no.',
        f"./{model}/gone.wav|x/y.wav|en|True|5.1|LJSpeech|fast_pitch|FastPitch|Yes.",
    )
    touch(root, f"{model}/emma_01.wav", "en_US/by_book/female/mary_ann/emma/wavs/emma_01.wav")
    found = read(tmp_path, root)
    assert [(r.label, r.speaker, r.generator, r.language, r.group) for r in found.rows] == [
        ("real", "mary_ann", "human", "en", "emma_01"),
        ("fake", None, "fast_pitch", "en", "emma_01"),
    ]
    assert found.readings[0]["listed_but_absent"] == 1


def test_metadata_of_any_name_and_its_columns(tmp_path):
    root = tmp_path / "mine"
    write(
        root / "labels.csv",
        "path,class,speaker_id,model_name,lang,subset,group_id",
        "clips/a.wav,Bona Fide,anna,,de,dev,g1",
        "clips/b.wav,deepfake,unknown,vits,-,training,g1",
    )
    touch(root, "clips/a.wav", "clips/b.wav")
    found = read(tmp_path, root)
    assert found.readings[0]["layout"] == "metadata"
    assert facts(found) == {
        "a.wav": ("real", "anna", "human", "de", "validation", "g1"),
        "b.wav": ("fake", None, "vits", None, "train", "g1"),
    }


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_audiofolder(tmp_path, kind):
    root = tmp_path / "af"
    for split, label in (("train", "fake"), ("test", "real")):
        row = {"file_name": f"{label}.wav", "label": label, "speaker": "x"}
        text = [json.dumps(row)] if kind == "jsonl" else [",".join(row), ",".join(row.values())]
        write(root / split / f"metadata.{kind}", *text)
        touch(root, f"{split}/{label}.wav")
    for layout in ("auto", "audiofolder"):
        found = read(tmp_path, root, layout)
        assert found.readings[0]["layout"] == "audiofolder"
        assert {name: v[0] for name, v in facts(found).items()} == {"real.wav": "real", "fake.wav": "fake"}


def test_evidence_comes_from_tables_then_folders_then_file_names(tmp_path):
    root = tmp_path / "mixed"
    write(root / "metadata.csv", "file_name,label", "x.wav,spoof")
    touch(root, "x.wav", "human/fake_accent.wav", "misc/0001_tts.wav")
    assert {name: v[0] for name, v in facts(read(tmp_path, root)).items()} == {
        "x.wav": "fake",
        "fake_accent.wav": "real",
        "0001_tts.wav": "fake",
    }


def test_conflicts_are_errors_with_examples_and_the_table_can_be_believed(tmp_path):
    root = tmp_path / "tts_challenge"
    write(root / "metadata.csv", "file_name,label", "real/a.wav,fake", "real/b.wav,real")
    touch(root, "real/a.wav", "real/b.wav")
    with pytest.raises(UserError, match=r"1 of 2 recordings have two labels, e\.g\. tts_challenge/real/a\.wav"):
        read(tmp_path, root)
    assert facts(read(tmp_path, root, "metadata"))["a.wav"][0] == "fake"
    write(root / "more.csv", "file,label", "real/b.wav,fake")
    with pytest.raises(UserError, match="two labels"):
        read(tmp_path, root, "metadata")


def test_labels_that_are_numbers_are_refused(tmp_path):
    write(tmp_path / "d/metadata.csv", "file_name,label", "a.wav,1")
    touch(tmp_path / "d", "a.wav")
    with pytest.raises(UserError, match="labels a recording '1', which does not say real or fake"):
        read(tmp_path, tmp_path / "d")


def test_two_corpora_in_one_folder_are_a_question(tmp_path):
    asvspoof2019(tmp_path / "all/asv")
    write(tmp_path / "all/wild/meta.csv", "file,speaker,label", "0.wav,A,spoof")
    touch(tmp_path / "all/wild", "0.wav")
    with pytest.raises(UserError, match="looks like asvspoof2019_la and in_the_wild; name the folder of each"):
        read(tmp_path, tmp_path / "all")
    found = read_inputs([tmp_path / "all/asv", tmp_path / "all/wild"], "auto", tmp_path / "downloads")
    assert [reading["layout"] for reading in found.readings] == ["asvspoof2019_la", "in_the_wild"]
    assert {row.corpus for row in found.rows} == {"ASVspoof2019-LA", "In-the-Wild"}


@pytest.mark.parametrize("layout", [name for name in LAYOUT_NAMES if name not in ("auto", "hub", "folders")])
def test_a_layout_that_does_not_fit_says_what_it_expected(tmp_path, layout):
    touch(tmp_path / "d", "real/a.wav", "fake/b.wav")
    with pytest.raises(UserError, match="expected"):
        read(tmp_path, tmp_path / "d", layout)


def test_the_command_offers_every_layout():
    assert arguments._LAYOUTS == LAYOUT_NAMES


def test_sampling_is_random_seeded_and_per_class(tmp_path):
    touch(tmp_path / "d", *(f"real/{i:03d}.wav" for i in range(50)), *(f"fake/{i:03d}.wav" for i in range(8)))
    rows = read(tmp_path, tmp_path / "d").rows
    chosen = sample_per_class(rows, 10, seed=1)
    assert [row.label for row in chosen].count("real") == 10
    assert [row.label for row in chosen].count("fake") == 8
    assert chosen == sample_per_class(rows, 10, seed=1) != sample_per_class(rows, 10, seed=2)
    assert max(row.file.path.stem for row in chosen if row.label == "real") > "025", "taken in path order"
    assert sample_per_class(rows, None, 0) == rows


def hub_dataset(folder: Path) -> None:
    rows = {
        "audio": [{"bytes": b"a", "path": "a.wav"}, {"bytes": b"b", "path": "b.mp3"}],
        "label": [0, 1],
        "speaker": ["x", None],
    }
    # Cast, because making Audio columns outright needs torchcodec even for bytes.
    data = Dataset.from_dict(rows).cast_column("audio", Audio(decode=False))
    data = data.cast_column("label", ClassLabel(names=["fake", "real"]))
    folder.mkdir()
    data.to_parquet(str(folder / "train-00000.parquet"))
    data.to_parquet(str(folder / "test-00000.parquet"))


def test_a_dataset_of_the_hub_becomes_files_and_labels_go_by_name(tmp_path):
    hub_dataset(tmp_path / "set")
    for name, layout in ((f"hub:{tmp_path / 'set'}", "auto"), (str(tmp_path / "set"), "hub")):
        found = read_inputs([name], layout, tmp_path / "downloads")
        assert [(r.label, r.speaker, r.split, r.file.path.read_bytes()) for r in found.rows] == [
            ("fake", "x", "train", b"a"),
            ("real", None, "train", b"b"),
            ("fake", "x", "test", b"a"),
            ("real", None, "test", b"b"),
        ]
        assert [r.file.path.suffix for r in found.rows[:2]] == [".wav", ".mp3"]


def test_offline_the_hub_and_kaggle_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "cache_only", lambda: True)
    with pytest.raises(UserError, match="org/none could not be loaded .*name its folder"):
        read_inputs(["hub:org/none"], "auto", tmp_path)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UserError, match="pip install kagglehub"):
        read_inputs(["kaggle:owner/data"], "auto", tmp_path)
    with pytest.raises(UserError, match="expected kaggle:owner/dataset"):
        read_inputs(["kaggle:data"], "auto", tmp_path)

    def refuse(handle):
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=refuse))
    with pytest.raises(UserError, match=r"could not be downloaded \(no route to host\)"):
        read_inputs(["kaggle:owner/data"], "auto", tmp_path)


def test_kaggle_downloads_and_then_recognises_the_layout(tmp_path, monkeypatch):
    touch(tmp_path / "cache", "for-norm/training/real/file1.wav", "for-norm/training/fake/file1.wav")
    asked = []
    fake = SimpleNamespace(dataset_download=lambda handle: asked.append(handle) or str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    found = read_inputs(["kaggle:mohammed/the-fake-or-real-dataset"], "auto", tmp_path)
    assert asked == ["mohammed/the-fake-or-real-dataset"]
    assert (
        found.readings[0] | {"input": "kaggle:mohammed/the-fake-or-real-dataset", "layout": "for"} == found.readings[0]
    )


def test_what_a_table_tells_besides_becomes_columns_and_unknown_is_none(tmp_path):
    root = tmp_path / "corpus"
    write(
        root / "metadata.csv",
        "file_name,label,page,kind,family,year,group_id,license",
        "a.wav,real,lab/demo,human,-,,lab/demo:1,MIT License",
        "b.wav,fake,lab/demo,tts,flow-matching,2024,lab/demo:1,",
        "c.wav,fake,,vc,,2023.0,,none stated",
        "d.wav,fake,,,,soon,,",
    )
    touch(root, "a.wav", "b.wav", "c.wav", "d.wav")
    told = {
        row.file.path.name: (row.page, row.kind, row.family, row.year, row.group, row.licence)
        for row in read(tmp_path, root).rows
    }
    assert told == {
        "a.wav": ("lab/demo", "human", None, None, "lab/demo:1", "MIT License"),
        "b.wav": ("lab/demo", "tts", "flow-matching", 2024, "lab/demo:1", None),
        "c.wav": (None, "vc", None, 2023, None, "none stated"),
        "d.wav": (None, None, None, None, None, None),
    }
