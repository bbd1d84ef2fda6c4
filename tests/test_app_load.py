"""A small load and a small fuzz of a real server; benchmarks/app_load.py and app_fuzz.py are the large ones."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT
from serving import server_of, small_detector

from app.__main__ import parse_arguments, settings_of
from app.settings import DEFAULT_PORT
from benchmarks.app_fuzz import fuzz
from benchmarks.app_load import load
from benchmarks.served import Served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    detector = small_detector(tmp_path_factory.mktemp("load") / "model")
    with server_of(detector) as (host, port):
        yield Served(f"http://{host}:{port}", psutil.Process())


@pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed (extra dev)")
def test_many_clients_at_once_lose_nothing(server: Served) -> None:
    found = load(server, clients=16, requests=80, clip_s=2.0, detail="score", seconds=60)
    assert (found.lost, found.server_errors, found.requests) == (0, 0, 80)
    assert found.p95_ms < 20_000


@pytest.mark.skipif(
    not Path(sys.executable).with_name("schemathesis").exists(), reason="schemathesis is not installed (extra dev)"
)
def test_requests_made_up_from_the_document_get_documented_answers(server: Served) -> None:
    done = fuzz(server.url, examples=8, seconds=120, phases="fuzzing")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 50


def test_the_container_starts_the_server_where_the_space_looks_for_it() -> None:
    """No engine is needed: what its lines name exists, and its command is one that is understood."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    for name, _, rest in steps:
        if name == "COPY":
            sources = [word for word in rest.split()[:-1] if not word.startswith("--")]
            assert all((ROOT / source).exists() for source in sources)
    assert "--requirement app/requirements.txt" in (ROOT / "Dockerfile").read_text()
    command = yaml.safe_load(next(rest for name, _, rest in steps[::-1] if name == "CMD"))
    assert command[:3] == ["python", "-m", "app"]
    arguments = parse_arguments(command[3:])
    assert (arguments.host, arguments.port, settings_of(arguments).hosts) == ("0.0.0.0", DEFAULT_PORT, None)
    assert [rest for name, _, rest in steps if name == "USER"][-1] != "root"
    front = yaml.safe_load((ROOT / "app/README.md").read_text().split("---")[1])
    exposed = int(next(rest for name, _, rest in steps if name == "EXPOSE"))
    assert (front["sdk"], front["app_port"], exposed) == ("docker", DEFAULT_PORT, DEFAULT_PORT)
    assert len(front["short_description"]) <= 60


def test_every_route_is_in_the_documentation(server: Served) -> None:
    import requests

    text = (ROOT / "docs/serve.md").read_text()
    paths = requests.get(f"{server.url}/openapi.json", timeout=20).json()["paths"]
    missing = [
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if f"`{method.upper()} {path}`" not in text
    ]
    assert missing == []
    assert "`WS /v1/stream`" in text
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in (ROOT / "app/__main__.py").read_text()


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a clone with git")
def test_what_the_page_needs_is_installed_with_it() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    assert '"*" = ["*.html", ' in declared
    assert '"static/*"]' in declared
    assert {path.suffix for path in (ROOT / "app/static").iterdir()} == {".css", ".js", ".svg"}


def test_the_readme_shows_the_page_in_a_small_picture() -> None:
    picture = ROOT / "docs" / "images" / "page.png"
    assert picture.stat().st_size < 200_000
