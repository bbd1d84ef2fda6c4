"""`python -m data_prep fetch`: the clips of a list out of public repositories, or local copies of them."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm

from data_prep.fetch_clip import ListedClip, Problem, Reason
from data_prep.fetch_cut import CutResult, CutTask, Treatment, cut_file
from data_prep.fetch_folder import METADATA_NAME, REPORT_NAME, FetchFolder
from data_prep.fetch_git import MirrorSource
from data_prep.fetch_http import HttpOptions, HttpSource
from data_prep.fetch_list import ClipList, files_of, read_list
from data_prep.fetch_source import Brought, Source
from data_prep.parts import package_versions
from data_prep.workers import run_ordered
from deepfake.errors import EXIT_SOME_FAILED, UserError

_DECODING_PACKAGES = ("av", "numpy", "soundfile", "soxr")


@dataclass(frozen=True)
class FetchOptions:
    """What is fetched, from where, and what is done to it.

    Attributes:
        clips: the list, a CSV such as corpora/pages.csv.
        output: folder for the clips, their table and the report.
        mirror: folder with copies of the repositories; None asks the web server of `http`.
        workers: processes that decode; the result does not depend on it.
    """

    clips: Path
    output: Path
    mirror: Path | None = None
    http: HttpOptions = field(default_factory=HttpOptions)
    treatment: Treatment = field(default_factory=Treatment)
    workers: int = 1


def fetch(options: FetchOptions) -> int:
    """Fetch what is not there yet, write metadata.csv and fetch_report.json, print a table of the kinds.

    Returns:
        0, or `EXIT_SOME_FAILED` when listed clips are missing.

    Raises:
        UserError: an unusable list, output or mirror, or not one clip came.
    """
    listed = read_list(options.clips)
    versions = package_versions(_DECODING_PACKAGES)
    folder = FetchFolder(options.output, options.treatment, versions)
    strangers = folder.strangers(listed.clips)
    if strangers:
        raise UserError(
            f"{options.output} holds {strangers} clips that {options.clips} does not list; name another --output"
        )
    source = _source(options, folder)
    problems = _fetch_missing(listed.clips, source, folder, options)
    report = _report(listed, problems, folder, options)
    folder.finish(listed.clips, report)
    if not folder.done:
        raise UserError(
            f"none of {len(listed.clips)} clips came ({_counts(report)}); see {options.output / REPORT_NAME}"
        )
    print(_table(report))
    _say(_sentence(report, options.output))
    return EXIT_SOME_FAILED if report["missing"] else 0


def _source(options: FetchOptions, folder: FetchFolder) -> Source:
    if options.mirror is not None:
        return MirrorSource(options.mirror, folder.work)
    return HttpSource(folder.work, options.http)


def _fetch_missing(
    clips: Sequence[ListedClip], source: Source, folder: FetchFolder, options: FetchOptions
) -> dict[str, Problem]:
    """Fetch, cut and remember every clip that is not there yet; returns the problems by clip id."""
    problems: dict[str, Problem] = {}
    wanted = files_of([clip for clip in clips if clip.clip_id not in folder.done])
    bar = tqdm(total=len(clips), initial=len(folder.done), desc="fetching", unit="clip", smoothing=0.05)

    def tasks(brought: Iterable[Brought]) -> Iterator[CutTask]:
        for one in brought:
            if one.path is not None:
                yield CutTask(one.path, one.file.clips, options.treatment, folder.clips, folder.work)
            else:
                problems.update((clip.clip_id, one.problem) for clip in one.file.clips)
                bar.update(len(one.file.clips))

    # Tasks are remembered as they are handed out, so that each result meets its own.
    handed: deque[CutTask] = deque()
    # Closed at once when something ends the loop: connections and git do not outlive it.
    with bar, closing(source.bring(wanted)) as brought:
        remembered = _remembered(tasks(brought), handed)
        for result in run_ordered(cut_file, remembered, options.workers, _died, ahead=2 * options.workers):
            task = handed.popleft()
            for clip, found in zip(task.clips, result.clips, strict=True):
                if isinstance(found, Problem):
                    problems[clip.clip_id] = found
                else:
                    folder.add(found)
            task.path.unlink(missing_ok=True)
            bar.update(len(task.clips))
    return problems


def _remembered(tasks: Iterable[CutTask], handed: deque[CutTask]) -> Iterator[CutTask]:
    for task in tasks:
        handed.append(task)
        yield task


def _died(task: CutTask) -> CutResult:
    problem = Problem(Reason.AUDIO, "the process died while decoding it (a crash in a decoder, or out of memory)")
    return CutResult((problem,) * len(task.clips))


def _report(listed: ClipList, problems: dict[str, Problem], folder: FetchFolder, options: FetchOptions) -> dict:
    missing = [
        *({"line": row.line, **_kept(row.cells), **_told(row.problem)} for row in listed.unusable),
        *(
            {"line": clip.line, **_kept(asdict(clip)), **_told(problems[clip.clip_id])}
            for clip in listed.clips
            if clip.clip_id in problems
        ),
    ]
    kinds: dict[str, dict[str, float]] = defaultdict(lambda: {"listed": 0, "fetched": 0, "hours": 0.0})
    pages: dict[str, dict[str, int]] = defaultdict(lambda: {"listed": 0, "fetched": 0})
    for clip in listed.clips:
        kind, page = kinds[clip.kind or clip.label], pages[clip.page]
        facts = folder.done.get(clip.clip_id)
        kind["listed"] += 1
        page["listed"] += 1
        if facts is not None:
            kind["fetched"] += 1
            kind["hours"] += (facts.end_s - facts.start_s) / 3600
            page["fetched"] += 1
    return {
        "list": options.clips.name,
        "list_sha256": hashlib.sha256(options.clips.read_bytes()).hexdigest(),
        "source": "mirror" if options.mirror is not None else options.http.base_url,
        "treatment": asdict(options.treatment),
        "versions": folder.runs,
        "listed": len(listed.clips) + len(listed.unusable),
        "fetched": len(folder.done),
        "missing": len(missing),
        "missing_by_reason": dict(Counter(entry["reason"] for entry in missing).most_common()),
        "kinds": dict(sorted(kinds.items())),
        "pages": dict(pages),
        "missing_clips": sorted(missing, key=lambda entry: entry["line"]),
    }


def _kept(cells: dict) -> dict:
    return {name: cells.get(name) for name in ("page", "commit", "path", "blob", "start_s", "end_s")}


def _told(problem: Problem) -> dict[str, str]:
    return {"reason": problem.reason.value, "detail": problem.detail}


def _table(report: dict) -> str:
    lines = [f"{'kind':<10}{'listed':>8}{'fetched':>9}{'hours':>8}"]
    lines += [f"{k:<10}{c['listed']:>8}{c['fetched']:>9}{c['hours']:>8.2f}" for k, c in report["kinds"].items()]
    sums = {name: sum(cell[name] for cell in report["kinds"].values()) for name in ("listed", "fetched", "hours")}
    return "\n".join([*lines, f"{'all':<10}{sums['listed']:>8}{sums['fetched']:>9}{sums['hours']:>8.2f}"])


def _counts(report: dict) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in report["missing_by_reason"].items())


def _sentence(report: dict, output: Path) -> str:
    said = f"{report['fetched']} of {report['listed']} clips and {METADATA_NAME} are in {output}"
    if report["missing"]:
        said += f"; {report['missing']} are missing ({_counts(report)}), each named in {output / REPORT_NAME}"
    return said


def _say(text: str) -> None:
    print(text, file=sys.stderr)
