"""One recording's score for a person: what was found, how sure that is, and on what it was measured."""

from __future__ import annotations

import textwrap

from deepfake.audio.files import readable_name
from deepfake.metrics.strength import Statement
from deepfake.scoring.audio_facts import MIN_EVIDENCE_S
from deepfake.scoring.decision import Decision
from deepfake.scoring.engine import Result
from deepfake.scoring.rates import MeasuredRates
from deepfake.scoring.result import Score

_WIDTH = 88
_HEADLINES = {
    "fake": "signs of synthesis were found",
    "real": "no sign of synthesis was found",
    "uncertain": "cannot tell",
}


def verdict(score: Score, decision: Decision, result: Result) -> str:
    """Lines for a terminal.

    The words never say more than is known: "real" is told as the absence of a sign, with the share of fakes that show
    none, and with less than `MIN_EVIDENCE_S` of speech nothing is told but that.

    Args:
        score: of the recording.
        decision: by which its prediction came about.
        result: the sums behind it.
    """
    name = readable_name(score.path) + ("" if score.channel is None else f", channel {score.channel}")
    if score.error is not None:
        return "\n".join([f"{name}: could not be scored", "", *_field("reason", score.error), *_warned(score)])
    speech_s, enough = heard(result)
    agreeing = windows_agreeing(score, decision, result)
    lines = [f"{name}: {headline(score, enough)}", ""]
    lines += _field("fake_probability", f"{score.fake_probability:.3f}, {_place(score, decision)}")
    lines += _field("operating point", decision.name + (f" ({decision.note})" if decision.note else ""))
    lines += _measured(decision.rates)
    if enough and decision.scale is not None:
        lines += _field("strength", short_strength(decision.scale.statement(result.logit)))
    lines += _field("windows", f"{agreeing} of {score.windows} agree; the highest has {score.max_window:.3f}")
    held = f"{speech_s:.1f} s of it speech" if result.reading.track.detects else "all of it taken for speech"
    lines += _field("recording", f"{score.duration_s:.1f} s, {held}")
    lines += _warned(score)
    return "\n".join([*lines, "", *textwrap.wrap(meaning(score, decision, enough), _WIDTH)])


def short_strength(found: Statement) -> str:
    """A likelihood ratio in few words, such as "4.7 to 1 for synthesis: weak support"."""
    if found.favours is None:
        return "no support for either" + ("; validation supports no ratio of 2 or more" if found.capped else "")
    side = "synthesis" if found.favours == "fake" else "a human speaker"
    told = f"{found.ratio:,g} to 1 for {side}: {found.strength} support"
    return told + ("; validation supports no larger ratio" if found.capped else "")


def stated_strength(found: Statement) -> str:
    """A likelihood ratio in words: what is more probable, by how much, and ENFSI's word for that."""
    if found.favours is None and found.capped:
        side = "synthesis" if found.llr > 0 else "a human speaker"
        return f"the score points to {side}, but validation supports no ratio of 2 or more: no support for either"
    if found.favours is None:
        return "the score is about as probable from a human speaker as from synthesis: no support for either"
    first, second = "synthesis", "a human speaker"
    if found.favours == "real":
        first, second = second, first
    times = f"{found.ratio:,g} times" + (" or more" if found.capped else "")
    told = f"the score is {times} as probable from {first} as from {second}: {found.strength} support for {first}"
    return told + (" (validation supports no larger ratio)" if found.capped else "")


def _place(score: Score, decision: Decision) -> str:
    if score.prediction == "fake":
        return f"at or above the threshold {decision.threshold:.3f}"
    if score.prediction == "real":
        return f"below the threshold {decision.real_below:.3f}"
    return f"between {decision.real_below:.3f} and {decision.threshold:.3f}"


def _measured(rates: MeasuredRates | None) -> list[str]:
    if rates is None:
        return _field("error rates", "nothing was measured at this threshold, so it may be far off")
    bound = f", at most {_percent(rates.fpr_upper)} of them all" if rates.fpr_upper is not None else ""
    sure = f" ({100 * rates.confidence:g} % confidence)" if bound and rates.confidence is not None else ""
    on = f"{rates.measured_on} ({rates.n_real:,} human, {rates.n_fake:,} fake)"
    return [
        *_field("false alarms", f"{_share(rates.fpr)} of human recordings are called fake{bound}{sure}"),
        *_field("misses", f"{_share(rates.fnr)} of fakes are not found"),
        *_field("measured on", on),
    ]


def _warned(score: Score) -> list[str]:
    return [line for warning in score.warnings for line in _field("warning", warning)]


def headline(score: Score, enough: bool) -> str:
    """The verdict in a few words; `enough`: whether there is speech enough for one."""
    return _HEADLINES[score.prediction if enough else "uncertain"]


def heard(result: Result) -> tuple[float, bool]:
    """Seconds of speech, and whether they are enough to judge by."""
    speech_s = result.reading.track.speech_s(0, result.reading.track.samples)
    return speech_s, speech_s >= MIN_EVIDENCE_S


def windows_agreeing(score: Score, decision: Decision, result: Result) -> int:
    """How many of the scored windows would by themselves get the recording's answer."""
    return sum(decision.prediction(window.fake_probability) == score.prediction for window in result.scored)


def meaning(score: Score, decision: Decision, enough: bool) -> str:
    """What the verdict does and does not say."""
    if not enough:
        return (
            f"There is less than {MIN_EVIDENCE_S:g} s of speech, which is too little to say anything. A longer "
            "recording may tell more."
        )
    if score.prediction == "uncertain":
        return "Between the two thresholds neither answer is safe."
    rates = decision.rates
    if score.prediction == "fake":
        known = "how many human recordings get the same answer was not measured"
        if rates is not None:
            known = f"{_share(rates.fpr)} of human recordings got the same answer where it was measured"
        return f"This is a sign and no proof: {known}."
    known = "how many fakes get the same answer was not measured"
    if rates is not None:
        known = f"{_share(rates.fnr)} of fakes got the same answer where it was measured"
    return f"This does not show that a human spoke: {known}. Recordings of other kinds may fare worse."


def _share(rate: tuple[float, float]) -> str:
    low, high = map(_percent, sorted(rate))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def _percent(share: float) -> str:
    value = 100 * share
    return f"{value:.2f} %" if 0 < value < 1 else f"{value:.1f} %"


def _field(name: str, text: str) -> list[str]:
    indent = " " * 20
    return textwrap.wrap(text, _WIDTH, initial_indent=f"  {name:<18}", subsequent_indent=indent) or [f"  {name}"]
