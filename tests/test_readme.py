"""README and docs: their commands are run as they stand, in a copy of the project, and their options are real ones."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT, run

from deepfake.training.arguments import MAPPING_KEYS
from deepfake.training.recipe import RecipeArguments

README = ROOT / "README.md"
DOCS = tuple(sorted((ROOT / "docs").glob("*.md")))
PAGES = (README, *DOCS)
NAMES = {page: page.relative_to(ROOT).as_posix() for page in PAGES}

# Which pages describe a command, and so have to name all of its options.
DESCRIBED = {
    ("infer.py",): ("score.md",),
    ("-m", "app"): ("serve.md", "score.md"),
    ("-m", "model_card"): ("evaluate.md",),
    **{
        ("-m", "data_prep", name): ("data.md",) for name in ("build", "fetch", "audit", "describe", "pairs", "push")
    },
    **{
        ("-m", "evaluation", name): ("evaluate.md",)
        for name in ("report", "scores", "stress", "compare", "arena", "freeze")
    },
}  # fmt: skip
# Programs whose options are not ours to check.
OTHERS = {"cd", "curl", "docker", "find", "git", "source", "time", "uv"}
OTHERS_OPTIONS = {"--rm", "--torch-backend"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `reason` says why its commands are not run here, None where they are."""

    page: Path
    language: str
    text: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")]


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^(?:<!-- not run: ([^>]+) -->\n)?```(\w+)\n(.*?)^```$", text, re.S | re.M)
    return [Block(page, match[2], match[3], match[1]) for match in found if match[2] == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the README's commands were run, in order, as a user would."""
    project = tmp_path_factory.mktemp("clone") / "project"
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).decode().split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    for block in blocks(README, "bash"):
        for command in block.commands if block.reason is None else ():
            if "--config configs/demo.yaml" in command:  # the same run, in seconds
                command += " --max_steps 2 --eval_strategy steps --eval_steps 2 --save_strategy steps --save_steps 2"
            run("bash", "-c", command, cwd=project, **clean())
    return project


def clean() -> dict[str, str]:
    """The environment of a user who has activated the virtual environment."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": ""}


def test_installing_and_scoring_come_first_and_ci_runs_the_test_command() -> None:
    installing, scoring = (block.commands for block in blocks(README, "bash")[:2])
    assert installing[0].startswith("git clone ")
    assert any(re.match(r"pip install .*\.$", line) for line in installing)
    assert scoring[0].startswith("python infer.py examples/recordings")
    ci = [
        line
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line and not line.startswith(("#", "set", "cd")) and not line.endswith("|| true")  # may fail: a browser
    ]
    assert ci == ["make test"]
    assert "`make test`" in README.read_text(encoding="utf-8")


def test_the_readme_fits_on_a_few_screens() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 180] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_prose_is_no_wider_than_a_window(page: Path) -> None:
    lines = [line for line in prose(page).splitlines() if not line.startswith(("|", "     alt=", "<!--"))]
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.slow
def test_every_command_of_the_readme_works_in_order(project: Path) -> None:
    assert (project / "out/scores.csv").read_text().count("\n") == 15
    assert (project / "out/detector_scores.csv").read_text().count("\n") == 15
    assert json.loads((project / "out/detector/results.json").read_text())["sets"]["test"]["n"] > 0
    assert (project / "out/timeline/index.html").exists()


@pytest.mark.slow
def test_the_rows_shown_in_the_readme_are_those_that_the_command_writes(project: Path) -> None:
    with (project / "out/scores.csv").open(newline="") as file:
        written = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    table = README.read_text(encoding="utf-8").split("<!-- rows of out/scores.csv -->\n")[1].split("\n\n")[0]
    head, _, *shown = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert shown
    for cells in shown:
        row = dict(zip(head, cells, strict=True))
        found = written[Path(row["path"]).name]
        assert all(found[name] == "" for name in set(found) - set(row))  # what is not shown is empty
        assert {name: found[name] for name in ("prediction", "windows", "operating_point")}.items() <= row.items()
        for name in ("fake_probability", "threshold", "duration_s", "max_window"):
            assert float(row[name]) == pytest.approx(float(found[name]), abs=0.002), name


@pytest.mark.slow
def test_the_verdict_shown_in_the_readme_is_that_of_a_terminal(project: Path) -> None:
    shown = blocks(README, "text")[0].text.strip()
    name, found = shown.partition(":")[0], on_a_terminal(project, shown.partition(":")[0])
    found = found.replace("\r\n", "\n").replace(f"{project}/", "").strip()
    numbers = re.compile(r"\d+\.\d+")
    assert numbers.sub("#", found[found.index(name) :]) == numbers.sub("#", shown)
    pairs = zip(numbers.findall(found), numbers.findall(shown), strict=True)
    assert all(float(one) == pytest.approx(float(other), abs=0.01) for one, other in pairs)


def on_a_terminal(project: Path, recording: str) -> str:
    """What `infer.py` prints of a recording where its standard output is a terminal."""
    ours, its = os.openpty()
    command = [sys.executable, "infer.py", recording]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, **clean()}, stdout=its, stderr=subprocess.DEVNULL, check=True
    )
    os.close(its)
    text = b""
    with contextlib.suppress(OSError):  # which is how Linux says that a terminal has ended
        while part := os.read(ours, 4096):
            text += part
    os.close(ours)
    assert done.returncode == 0
    return text.decode()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_every_python_snippet_works(page: Path, project: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        snippet = project / "out" / f"snippet_{number}.py"
        snippet.write_text(f"import sys; sys.path.insert(0, '.')\n{block.text}")
        done = run(sys.executable, snippet, cwd=project)
        for line in done.stdout.splitlines():
            assert re.match(r"0\.\d+ (real|fake|True|False)", line)


@pytest.mark.slow
@pytest.mark.parametrize("page", DOCS, ids=NAMES.get)
def test_every_command_of_the_docs_works_after_those_of_the_readme(page: Path, project: Path) -> None:
    for block in blocks(page, "bash"):
        for command in block.commands if block.reason is None else ():
            words = shlex.split(command)
            if words[0] == "python" and "|" not in words:
                run(sys.executable, *words[1:], cwd=project)
            else:
                run("bash", "-c", command, cwd=project, **clean())


def simple_commands(block: Block) -> Iterator[list[str]]:
    """The words of each command in a block, without comments, pipes and variables in front."""
    for line in block.commands:
        command: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word not in (";", "|", "&&"):
                command.append(word)
                continue
            while command and (re.match(r"\w+=", command[0]) or command[0] == "time"):
                command.pop(0)
            if command:
                yield command
            command = []


@cache
def help_of(*command: str) -> str:
    return run(sys.executable, *command, "--help").stdout


def options_in(text: str) -> set[str]:
    """The long options that a help text describes."""
    found = re.findall(r"^ +(?:-\w(?: \S+)?, )?(--[^\n]*)", text, re.M)
    return {option for line in found for option in re.findall(r"(?:^|, )(--[\w-]+)", line)}


def target_of(words: list[str]) -> tuple[tuple[str, ...], list[str], list[str]]:
    """The command of ours that a line starts, what it says to a launcher before it, and what to the command."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    start = next(i for i, word in enumerate(words) if word.endswith(".py") or word == "-m" or word in scripts)
    length = 2 if words[start] == "-m" else 1
    name = tuple(words[start : start + length])
    rest = words[start + length :]
    if rest and name[-1] in ("data_prep", "evaluation", "benchmarks.scoring_scale"):
        name, rest = (*name, rest[0]), rest[1:]
    return name, words[:start], rest


def asked(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def recipe_options() -> set[str]:
    return options_in(help_of("train_wav2vec2.py"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_every_option_in_a_command_exists(page: Path) -> None:
    """For commands that are not run here: bash can read them, and no option of them is unknown."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for block in blocks(page, "bash"):
        subprocess.run(["bash", "-n", "-c", block.text], check=True)
        for words in simple_commands(block):
            if words[0] == "make":
                assert words[1] in targets
            elif words[0] == "pip":
                assert asked(words) <= options_in(help_of("-m", "pip", words[1]))
            elif words[0] in OTHERS or words[0].startswith("(") or words[:3] == ["python3", "-m", "venv"]:
                continue
            else:
                name, launcher, rest = target_of(words)
                assert launcher[0] in ("python", "accelerate", "torchrun")
                if name[0] != "-m":
                    assert (ROOT / name[0]).is_file()
                elif name[1] not in ("venv",):
                    assert (ROOT / name[1].replace(".", "/")).with_suffix(".py").exists() or (ROOT / name[1]).is_dir()
                if asked(rest):
                    assert asked(rest) <= options_in(help_of(*name)), (page.name, words)
                if launcher[0] != "python":
                    of_launcher = (
                        "accelerate.commands.launch" if launcher[0] == "accelerate" else "torch.distributed.run"
                    )
                    known = options_in(help_of("-m", of_launcher))
                    assert {option.replace("_", "-") for option in asked(launcher)} <= {
                        option.replace("_", "-") for option in known
                    }


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_a_command_is_only_left_out_for_a_reason(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reasons = [block.reason for block in blocks(page, "bash") if block.reason is not None]
    assert len(reasons) == text.count("<!-- not run")  # each stands right before its block
    assert all(re.match(r"needs |takes |the README runs it", reason) for reason in reasons)


def sections(page: Path) -> list[str]:
    return re.split(r"^(?=## )", " ".join(page.read_text(encoding="utf-8").split(" ")), flags=re.M)


@pytest.mark.parametrize("command", DESCRIBED, ids=" ".join)
def test_every_subcommand_and_option_stands_in_a_page(command: tuple[str, ...]) -> None:
    pages = [ROOT / "docs" / name for name in DESCRIBED[command]]
    called = "python " + " ".join(command)
    assert called in pages[0].read_text(encoding="utf-8")
    told = [section for page in pages for section in sections(page)]
    if len(command) == 3:  # the options of a subcommand stand where it is described
        told = [section for section in told if re.search(rf"{called}\b", section)]
    named = set(re.findall(r"(?<![\w-])--[\w-]+", "\n".join(told)))
    assert options_in(help_of(*command)) - {"--help", "--version"} - named == set()


@pytest.mark.parametrize("door", ["data_prep", "evaluation"])
def test_no_subcommand_is_left_out(door: str) -> None:
    known = re.search(r"^    COMMAND\n|^  COMMAND\n", help_of("-m", door), re.M)
    listed = re.findall(r"^    (\w+) ", help_of("-m", door)[known.end() :], re.M)
    assert {name[2] for name in DESCRIBED if name[1:2] == (door,)} == set(listed)


def test_every_option_of_recipes_stands_in_the_page_on_training() -> None:
    page = (ROOT / "docs/train.md").read_text(encoding="utf-8")
    ours = {f"--{field.name}" for field in fields(RecipeArguments)} | {"--config", "--set"}
    assert ours - set(re.findall(r"--\w+", page)) == set()
    assert [key for key in MAPPING_KEYS if f"`{key}" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_no_page_names_an_option_that_is_gone(page: Path) -> None:
    known = {option for command in DESCRIBED for option in options_in(help_of(*command))}
    known |= recipe_options() | options_in(help_of("-m", "deepfake.channels.show")) | OTHERS_OPTIONS
    known |= options_in(help_of("-m", "accelerate.commands.launch")) | options_in(help_of("-m", "pip", "install"))
    named = {
        option for code in re.findall(r"`([^`]+)`", prose(page)) for option in re.findall(r"(?<!\S)--[\w-]+", code)
    }
    assert named - known == set()


def test_the_layout_names_what_is_there() -> None:
    layout = README.read_text(encoding="utf-8").split("## Layout\n\n```text\n")[1].split("```")[0]
    named = set(re.findall(r"(?:^|  )([a-z]\w+/|[a-z]\w+\.py)(?= )", layout, re.M))
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    folders = {name.split("/")[0] + "/" for name in tracked if "/" in name and not name.startswith(".")}
    there = folders | {"infer.py", "train_wav2vec2.py"}
    if (ROOT / "deepfake").is_dir():
        assert named == there
    else:
        assert named - there == {"deepfake/"}


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = prose(page)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link
    assert page != README or len(links) > 10


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_every_path_named_in_a_page_exists(page: Path) -> None:
    rooms = r"(?:configs|corpora|checkpoints|examples|benchmarks|data_prep|evaluation|model_card|app|tests)"
    named = re.findall(rf"`({rooms}/[\w./]*\w/?)`", prose(page))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_picture_is_small() -> None:
    pictures = re.findall(r'src="([^"]+)"', README.read_text(encoding="utf-8"))
    assert len(pictures) == 1
    assert (ROOT / pictures[0]).stat().st_size < 200_000
