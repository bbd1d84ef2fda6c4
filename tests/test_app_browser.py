"""The page in a real browser: Debian's chromium, driven by Playwright. Without the two these tests are skipped."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
from serving import server_of, small_detector, wait_for

from deepfake.audio.decode import encode_flac
from deepfake.scoring.result import Score
from deepfake.scoring.timeline import Segment
from deepfake.scoring.timeline_page import TimelinePage
from infer import Detector

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (extra dev)")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"
)

RATE = 16_000
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return small_detector(tmp_path_factory.mktemp("browser") / "model")


@pytest.fixture(scope="module")
def address(detector: Detector) -> Iterator[str]:
    with server_of(detector) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, speech: np.ndarray) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    contents = {
        "a.flac": encode_flac(speech[: 7 * RATE]),
        "b.flac": encode_flac(speech[7 * RATE : 12 * RATE]),
        "silent.flac": encode_flac(np.zeros(3 * RATE, np.float32)),
        "letter.txt": b"no audio at all",
        "<b>bold<img src=x onerror=alert(1)>.flac": encode_flac(speech[: 3 * RATE]),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    soundfile.write(folder / "voice.wav", speech[: 12 * RATE], RATE, subtype="PCM_16")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def browser(clips: dict[str, Path]) -> Iterator[object]:
    options = [
        "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={clips['voice.wav']}", "--autoplay-policy=no-user-gesture-required",
    ]  # fmt: skip
    if os.getuid() == 0:
        options.append("--no-sandbox")  # chromium refuses to have one for root
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_timelines_sorts_and_filters(browser: object, tmp_path: Path, width: int) -> None:
    page = TimelinePage(tmp_path / "index.html")
    values = {"a10.wav": 0.2, "a9.wav": 0.9, '<img src=x onerror="alert(1)">.wav': 0.5}
    for name, value in values.items():
        row = Score(str(tmp_path / name), value, "fake" if value > 0.4 else "real", 0.4, 61.0, 5, value)
        page.add(row, tmp_path / name, False, [Segment(1.0, 2.0, "fake", value)] if value > 0.4 else [])
    page.fail("line\nbreak.wav", Score("line\nbreak.wav", None, None, 0.4, None, 0, None, "file is <b>empty"))
    window = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    window.on("pageerror", lambda error: problems.append(str(error)))
    window.on("dialog", lambda dialog: problems.append(dialog.message))
    window.goto((tmp_path / "index.html").as_uri())

    def listed() -> list[str]:
        return [cell.strip() for cell in window.locator("#index td.name:visible").all_inner_texts()]

    a10, a9, hostile = values
    assert listed() == [a10, a9, hostile, "line break.wav"]
    assert "4 recordings · no sign found 1 · signs of synthesis 2 · not scored 1" in window.inner_text("#index span")
    window.get_by_role("button", name="P(fake)").click()
    assert listed() == [a9, hostile, a10, "line break.wav"]
    window.get_by_role("button", name="P(fake)").click()
    assert listed() == [a10, hostile, a9, "line break.wav"]
    window.get_by_role("button", name="Recording").click()
    assert listed()[1:3] == [a9, a10]  # by the number in the name
    window.fill("#index input", "NOT scored")
    assert listed() == ["line break.wav"]
    assert window.locator("section:visible").all_inner_texts() == ["line break.wav\n\nnot scored: file is <b>empty"]
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == []
    window.close()


class Visit:
    """One page, and what it asked for and complained of."""

    def __init__(self, browser: object, address: str, **options: object) -> None:
        self.address = address
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        self.context.grant_permissions(["microphone"], origin=address)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#point:not([disabled])", timeout=WAIT_MS)

    def bring(self, *paths: Path) -> None:
        self.page.set_input_files("#files", paths)
        self.page.wait_for_selector("#queue", state="hidden", timeout=WAIT_MS)
        self.page.wait_for_selector("#result .badge", timeout=WAIT_MS)


@pytest.fixture
def visit(browser: object, address: str) -> Iterator[Visit]:
    """Whatever a test does, nothing may be asked of another machine and nothing complained of."""
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert [url for url in visit.asked if not url.startswith((address, "blob:", "data:"))] == []
    assert visit.complaints == []


def test_a_file_gets_its_verdict_and_what_it_rests_on(visit: Visit, detector: Detector, clips: dict[str, Path]) -> None:
    visit.bring(clips["a.flac"])
    page, score = visit.page, detector.score(clips["a.flac"])
    assert page.inner_text("#result-name") == "a.flac"
    assert page.inner_text("#result .badge").strip() == score.prediction.capitalize()
    text = page.inner_text("#result")
    assert f"{score.fake_probability:.2f}" in page.inner_text(".says")
    points = requests.get(visit.address + "/v1/model", timeout=10).json()["operating_points"]
    point = next(point for point in points if point["name"] == "default")
    shown = [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?= %|, |\])", page.inner_text(".wrong"))]
    measured = [100 * v for k in ("fpr", "fnr") for v in (point[k], *point[f"{k}_interval"].values())]
    assert shown == pytest.approx(measured, abs=0.5)
    assert f"classified as {score.prediction.capitalize()} with" in text
    assert f"P(fake) {score.fake_probability:.2f}" in page.get_attribute(".gauge svg", "aria-label")
    assert page.locator(".gauge path").count() > 5  # bands and needle
    page.click("summary")
    assert page.locator("#result details tbody tr").count() == score.windows
    canvas = page.locator(".timeline canvas")
    assert canvas.bounding_box()["width"] > 800
    colours = canvas.evaluate(
        "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 4 == 0)).size"
    )
    assert colours > 30  # a spectrogram, not an empty rectangle


def test_passages_and_the_timeline_play_by_click_and_by_key(visit: Visit, clips: dict[str, Path]) -> None:
    visit.bring(clips["a.flac"])
    page = visit.page
    button = page.locator(".passages button").first
    start = button.inner_text().split("–")[0].removeprefix("▶ 0:")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    now = page.eval_on_selector("audio", "a => a.currentTime")
    assert now >= float(start)
    page.eval_on_selector("audio", "a => a.pause()")
    slider = page.locator("[role=slider]")
    slider.focus()
    for key, seconds in (("Home", 0), ("ArrowRight", 1), ("PageUp", 7), ("ArrowLeft", 6), ("End", 7)):
        page.keyboard.press(key)
        assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(seconds, abs=0.05)
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.wait_for_timeout(400)
    assert page.eval_on_selector("audio", "a => !a.paused && a.currentTime > 0")
    page.keyboard.press("Space")
    assert page.eval_on_selector("audio", "a => a.paused")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert page.eval_on_selector("audio", "a => a.currentTime") == pytest.approx(3.5, abs=0.3)


def test_many_files_are_a_table_with_the_failed_ones_sorted_and_downloaded(
    visit: Visit, detector: Detector, clips: dict[str, Path], tmp_path: Path
) -> None:
    names = ["a.flac", "b.flac", "silent.flac", "letter.txt", "<b>bold<img src=x onerror=alert(1)>.flac"]
    visit.bring(*(clips[name] for name in names))
    page = visit.page
    page.wait_for_selector("#table tbody tr:nth-child(5)", timeout=WAIT_MS)

    def column(number: int) -> list[str]:
        return [cell.strip() for cell in page.locator(f"#table tbody td:nth-child({number})").all_inner_texts()]

    assert column(2) == names  # markup in a name stays text
    words = dict(zip(names, column(3), strict=True))
    assert (words["silent.flac"], words["letter.txt"]) == ("Cannot tell", "Failed")
    for click, direction in ((1, "ascending"), (2, "descending")):
        page.locator("#table th button", has_text="P(fake)").click()
        assert page.locator("#table th:nth-child(4)").get_attribute("aria-sort") == direction, click
        values = [float(value or -1) for value in column(4)]
        assert values == sorted(values, reverse=direction == "descending")
    assert page.evaluate("document.activeElement.textContent") == "P(fake)"  # the focus stays
    page.locator("#table button.link", has_text="b.flac").click()
    assert page.inner_text("#result-name") == "b.flac"
    with page.expect_download() as download:
        page.click("#all-csv")
    download.value.save_as(tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("path,channel,fake_probability,prediction,threshold")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").last.click()
    download.value.save_as(tmp_path / "b.json")
    row = json.loads((tmp_path / "b.json").read_text())
    assert row["fake_probability"] == pytest.approx(detector.score(clips["b.flac"]).fake_probability, abs=1e-5)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download report").click()
    download.value.save_as(tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in report
    assert "<script" not in report
    page.click("#clear")
    assert page.locator("#result").is_hidden()


def test_a_long_recording_shows_how_far_it_is_and_can_be_given_up(
    visit: Visit, clips: dict[str, Path], address: str, tmp_path: Path, speech: np.ndarray
) -> None:
    long = tmp_path / "long.flac"
    long.write_bytes(encode_flac(np.tile(speech, 40)))
    page = visit.page
    page.set_input_files("#files", long)
    page.wait_for_selector("#queue .step:has-text('listening ')", timeout=WAIT_MS)
    assert 0 <= page.eval_on_selector("#queue progress", "p => p.value") < 0.9
    page.get_by_role("button", name="Cancel long.flac").click()
    page.wait_for_selector("#queue", state="hidden")
    assert "was cancelled" in page.inner_text("#status")
    wait_for(lambda: requests.get(f"{address}/v1/health", timeout=10).json()["waiting"] == 0)
    visit.bring(clips["b.flac"])
    assert page.inner_text("#result-name") == "b.flac"


def test_another_operating_point_changes_the_answer(visit: Visit, detector: Detector, clips: dict[str, Path]) -> None:
    visit.bring(clips["a.flac"])
    page, stored = visit.page, detector.checkpoint.stored["operating_points"]
    probability = detector.score(clips["a.flac"]).fake_probability
    for name in ("fpr_0.001", "eer"):
        page.select_option("#point", name)
        page.wait_for_selector(f".wrong b:has-text('{name}')")
        threshold = stored[name]["fake_probability"]
        assert page.inner_text("#result .badge").strip() == ("Fake" if probability >= threshold else "Real")
        assert f"{threshold:.3f}" in page.inner_text("#result dl")
        assert f"{100 * stored[name]['fnr']:.0f} %" in page.inner_text("#point-text")


def test_a_recording_from_the_microphone_is_judged_while_it_lasts_and_afterwards(visit: Visit) -> None:
    page = visit.page
    page.click("#record")
    page.wait_for_selector("#live-text:has-text('So far:')", timeout=WAIT_MS)
    page.wait_for_timeout(1500)
    page.click("#record")
    page.wait_for_selector("#result .badge", timeout=WAIT_MS)
    assert page.inner_text("#result-name").startswith("recording ")
    assert "P(fake)" in page.inner_text(".says")
    assert page.locator(".timeline canvas").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 375])
def test_axe_finds_nothing_and_nothing_sticks_out(
    browser: object, address: str, clips: dict[str, Path], width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    visit = Visit(
        browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce",
        bypass_csp=True,
    )  # fmt: skip
    page = visit.page
    visit.bring(clips["a.flac"], clips["letter.txt"])
    page.wait_for_selector("#table tbody tr:nth-child(2)", timeout=WAIT_MS)
    page.locator("#table button.link", has_text="a.flac").click()
    page.click("summary")
    for tab in ("#tab-analyse", "#tab-about"):
        page.click(tab)
        page.wait_for_timeout(200)
        violations = axe.Axe().run(page).response["violations"]
        assert [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in violations] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    visit.context.close()


def test_everything_is_reached_by_keyboard_and_has_a_name(visit: Visit, clips: dict[str, Path]) -> None:
    visit.bring(clips["a.flac"])
    page = visit.page
    page.focus(".skip")
    reached: list[str] = []
    for _ in range(60):
        name = page.evaluate(
            "(e => e.id || e.getAttribute('aria-label') || e.textContent.trim().slice(0, 40))(document.activeElement)"
        )
        if reached and name == reached[0]:
            break
        reached.append(name)
        page.keyboard.press("Tab")
    assert reached[0] == "Skip to the content"
    wanted = [
        "tab-analyse",
        "files",
        "record",
        "point",
        "channels",
        "Position in the recording",
        "Download JSON",
        "Analyse another",
    ]
    places = [next(i for i, name in enumerate(reached) if name.startswith(word)) for word in wanted]
    assert places == sorted(places)
    assert all(reached)
    page.focus("#tab-analyse")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-about"
    assert page.locator("#panel-about").is_visible()
    assert "Operating points" in page.inner_text("#panel-about")


def test_a_server_with_a_key_asks_the_page_for_it(browser: object, detector: Detector, clips: dict[str, Path]) -> None:
    with server_of(detector, api_key="open sesame") as (host, port):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://{host}:{port}")
        page.fill("#key", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#point:not([disabled])", timeout=WAIT_MS)
        page.set_input_files("#files", clips["b.flac"])
        page.wait_for_selector("#result .badge", timeout=WAIT_MS)
        page.wait_for_selector("#card img[src^=blob]", state="attached", timeout=WAIT_MS)
        page.click("#tab-about")
        assert (
            page.eval_on_selector("#card img", "async image => { await image.decode(); return image.naturalWidth; }")
            > 200
        )
        context.close()


def test_the_api_document_opens_without_the_internet(visit: Visit, address: str) -> None:
    visit.page.goto(f"{address}/docs")
    visit.page.wait_for_selector(".opblock-summary-path:has-text('score')", timeout=WAIT_MS)
