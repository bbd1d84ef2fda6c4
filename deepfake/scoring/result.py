"""One row a file."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Score:
    """The result for one recording.

    Attributes:
        path: the file as it was found.
        fake_probability: P(fake) in [0, 1] from the mean logit over speech windows; None when there is an `error`.
        prediction: "fake" when fake_probability >= threshold, else "real" (or, by an operating point with two
            thresholds such as "abstain", "uncertain"); None when there is an `error`.
        threshold: the one applied, as a probability.
        duration_s: length of the recording in seconds; None when it could not be decoded.
        windows: how many windows with speech were scored.
        max_window: the highest fake_probability of a single window.
        error: why there is no score, in a few words.
        operating_point: what the threshold is, see `deepfake.scoring.decision.Decision.name`.
        warnings: what makes the score less sure, such as "clipped: 3.1 % of the samples are at full scale".
        channel: the one that was scored, counted from 0; None: the mean of all.
    """

    path: str
    fake_probability: float | None
    prediction: str | None
    threshold: float
    duration_s: float | None
    windows: int
    max_window: float | None
    error: str | None = None
    operating_point: str | None = None
    warnings: tuple[str, ...] = ()
    channel: int | None = None

    @property
    def key(self) -> str:
        """What no other row of a file of scores has; see `row_key`."""
        return row_key(self.path, self.channel)


def row_key(path: str, channel: int | str | None) -> str:
    """The identity of a row: its path as text, and for one channel the channel behind a byte that no path holds."""
    return path_text(path) if channel in (None, "") else f"{path_text(path)}\0{channel}"


def path_text(path: str) -> str:
    """A path as text that every reader takes: a byte that is no UTF-8, such as 0xff, is written as \\udcff."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


COLUMNS = tuple(field.name for field in fields(Score))
