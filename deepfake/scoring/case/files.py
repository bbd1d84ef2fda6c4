"""The folder of a report: case.json, case.html and SHA256SUMS; and whether it is still what was written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from deepfake.errors import UserError
from deepfake.judging.codec import from_json, to_json
from deepfake.scoring.case.page import case_page
from deepfake.scoring.case.record import Case
from deepfake.text import replacing, write_text

RECORD, PAGE, SUMS = "case.json", "case.html", "SHA256SUMS"
_FORMAT = 1
_SAME = 2e-3  # of probabilities: the last digits of a forward pass depend on the processor


def write_case(folder: Path, case: Case) -> str:
    """Write the three files. The same recordings, detector and software give the same bytes.

    Returns:
        the SHA-256 of case.json, for noting it elsewhere.

    Raises:
        UserError: the folder cannot be written to.
    """
    text = json.dumps({"format": _FORMAT} | to_json(case), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    page = case_page(case, digest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RECORD, text)
        write_text(folder / PAGE, page)
        with replacing(folder / SUMS) as draft:
            draft.write_text(
                "".join(
                    f"{hashlib.sha256(what.encode('utf-8')).hexdigest()}  {name}\n"
                    for name, what in ((PAGE, page), (RECORD, text))
                ),
                encoding="ascii",
            )
    except OSError as error:
        raise UserError(f"cannot write --report {folder} ({error.strerror or error})") from error
    return digest


def read_case(folder: Path) -> Case:
    """Read case.json.

    Raises:
        UserError: there is none, or it is no such record.
    """
    path = folder / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError(f"its format is none that this version reads, which is {_FORMAT}")
        return from_json(Case, values)
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no {RECORD}; expected a folder that --report wrote") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is no report of recordings ({error})") from error


def altered(folder: Path) -> list[str]:
    """What in the folder is not what was written, in words; empty where all of it is.

    Raises:
        UserError: as `read_case`, or a file is missing.
    """
    case, found = read_case(folder), []
    try:
        stated = dict(reversed(line.split("  ", 1)) for line in (folder / SUMS).read_text("ascii").splitlines())
        contents = {name: (folder / name).read_bytes() for name in (RECORD, PAGE)}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is not whole ({error}); expected {RECORD}, {PAGE} and {SUMS}") from error
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != stated.get(name):
            found.append(f"{name} is not the file that {SUMS} was written for")
    digest = hashlib.sha256(contents[RECORD]).hexdigest()
    if contents[PAGE] != case_page(case, digest).encode("utf-8"):
        found.append(f"{PAGE} does not say what {RECORD} says")
    return found


def differences(stated: Any, found: Any, where: str = "") -> list[str]:
    """Where two reports differ, in words. Shares may differ by 0.002, and texts that hold one are not compared.

    Args:
        stated, found: records, or parts of them, of one kind.
    """
    if is_dataclass(stated):
        names = [field.name for field in fields(stated) if field.name not in _FOLLOWING]
        return [
            text
            for name in names
            for text in differences(getattr(stated, name), getattr(found, name), f"{where}.{name}".lstrip("."))
        ]
    if isinstance(stated, tuple) and isinstance(found, tuple) and len(stated) == len(found):
        pairs = enumerate(zip(stated, found, strict=True))
        return [text for i, (a, b) in pairs for text in differences(a, b, f"{where}[{i}]")]
    if isinstance(stated, float) and isinstance(found, float):
        return [] if abs(stated - found) <= _SAME * max(1.0, abs(stated)) else [f"{where}: {stated:g}, now {found:g}"]
    return [] if stated == found else [f"{where}: {_short(stated)}, now {_short(found)}"]


# Follow from what is compared, and hold numbers to more digits than another machine gives, or the machine's software.
_FOLLOWING = frozenset({"statement", "passages", "curve", "instrument", "title", "date", "complete", "not_examined"})


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"
