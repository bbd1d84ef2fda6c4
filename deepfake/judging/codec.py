"""Frozen dataclasses to plain JSON values and back: one rule for every record."""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from deepfake.errors import UserError

T = TypeVar("T")
FORMAT = 2  # of what is written; 1 is read as well


def to_json(value: Any) -> Any:
    """Plain JSON values: a dataclass becomes a mapping of its fields and of the properties named in its `DERIVED`.

    A class with `to_config` and `from_config`, or `to_dict` and `from_dict`, of its own writes and reads itself.
    """
    for writer in ("to_config", "to_dict"):
        if hasattr(value, writer):
            return getattr(value, writer)()
    if is_dataclass(value):
        names = (*(field.name for field in fields(value)), *getattr(value, "DERIVED", ()))
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {name: to_json(held) for name, held in value.items()}
    return [to_json(held) for held in value] if isinstance(value, (list, tuple)) else value


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """The record of class `kind` that `to_json` wrote; entries that the class does not know are passed over.

    Fields may be plain values, records, `dict[str, …]`, `tuple[…, ...]`, `tuple[…, …]`, any of these or None, and Any.

    Args:
        where: the place of `value` in the whole, for the message.

    Raises:
        ValueError: an entry is missing, or is no such thing as the record holds there.
    """
    return _read(kind, value, where)


def read_document(
    path: Path,
    expected: str,
    upgrade: Callable[[dict[str, Any]], dict[str, Any]],
    decode: Callable[[dict[str, Any]], T],
) -> T:
    """A JSON file of this or an earlier format.

    Args:
        expected: what the file is, for the message.
        upgrade: from the values of format 1 to those of this format.
        decode: from the values of this format to a record; ValueError where they hold none.

    Raises:
        UserError: there is no such file, it cannot be read, or it is of a later format.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} has no {path.name}; expected {expected}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable as JSON ({error}); it may have been cut off") from error
    version = values.get("format", 1) if isinstance(values, dict) else 1
    if not isinstance(version, int) or version > FORMAT:
        raise UserError(f"{path} is of format {version}, which this version cannot read; it reads up to {FORMAT}")
    try:
        return decode(upgrade(values) if version < FORMAT else values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"{path} is not {expected} ({reason}); move it away or write it again") from error


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, held = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is types.UnionType:
        return _read_union(held, value, where)
    if origin is dict:
        return {name: _read(held[1], entry, f"{where}.{name}") for name, entry in _expect(dict, value, where).items()}
    if origin is tuple:
        entries = _expect(list, value, where)
        kinds = [held[0]] * len(entries) if held[-1] is Ellipsis else held
        if len(kinds) != len(entries):
            raise ValueError(f"{where} has {len(entries)} entries, expected {len(kinds)}")
        return tuple(_read(k, entry, f"{where}[{i}]") for i, (k, entry) in enumerate(zip(kinds, entries, strict=True)))
    for reader in ("from_config", "from_dict"):
        if hasattr(kind, reader):
            return getattr(kind, reader)(_expect(dict, value, where))
    if is_dataclass(kind):
        return _read_record(kind, _expect(dict, value, where), where)
    return _expect((int, float) if kind is float else kind, value, where)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """Of `X | None` and unions of plain values, in which no two kinds are written alike."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    return _read(kinds[0], value, where) if len(kinds) == 1 else _expect(kinds, value, where)


def _read_record(kind: type[T], given: dict[str, Any], where: str) -> T:
    found = {}
    for field in fields(kind):
        place = f"{where}.{field.name}".lstrip(".")
        if field.name in given:
            found[field.name] = _read(_hints(kind)[field.name], given[field.name], place)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{place} is missing")
    return kind(**found)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _expect(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        names = ", ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{where or 'the whole'} is {type(value).__name__}, expected {names}")
    return value
