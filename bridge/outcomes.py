"""Outcomes: what came of one call, judged from the vendor's answer or from its absence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bridge import retry
from bridge.forgetting import forget_told, forget_words, names_told
from bridge.model import Call, Conversion, NoAnswer, Response, Retry, Told, Unknown, Verdict
from bridge.vendors.base import AnyVendor


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold what came of a call: what was judged, and what was answered.

    It is `ambiguous` where the call may have been counted although no success was answered.
    `well` tells whether the vendor does its work, be it to say no; None where nothing shows that.
    """

    verdict: Verdict
    status: int | None = None
    answer: str = ""
    took_ms: int = 0
    ambiguous: bool = False
    well: bool | None = None

    @property
    def name(self) -> str:
        """Return the word under which it is recorded."""
        verdict = self.verdict
        return "accepted" if isinstance(verdict, Told) else type(verdict).__name__.lower()

    @property
    def reason(self) -> str:
        """Return why the call was not accepted, or ""."""
        return "" if isinstance(self.verdict, Told) else self.verdict.reason

    @property
    def retry_after(self) -> str:
        """Return what the vendor wrote in Retry-After, if it is to be tried again."""
        return self.verdict.after if isinstance(self.verdict, Retry) else ""


INTERRUPTED = Outcome(Unknown("the worker stopped while it was sending"), ambiguous=True)
"""What came of a call that was about to be sent when its worker stopped."""


def judge(
    vendor: AnyVendor,
    call: Call,
    answer: Response | NoAnswer,
    took_ms: int,
    redact: Callable[[str], str] = str,
) -> Outcome:
    """Return what came of a call; what is kept of the answer is passed through `redact`.

    It is judged as it came: what looks like a secret may be part of an id.
    """
    if isinstance(answer, Response):
        verdict, body = vendor.judge(call, answer), redact(answer.body)
        if body != answer.body:
            shown = vendor.judge(call, replace(answer, body=body))
            words = f"{vendor.title} answered {answer.status}"
        return Outcome(
            verdict if body == answer.body else _in_words(verdict, shown, words),
            answer.status,
            body,
            took_ms,
            ambiguous=_is_ambiguous(vendor, call, answer.status),
            well=not (retry.is_retriable(answer.status) or isinstance(verdict, Unknown)),
        )
    verdict = Unknown(answer.reason) if answer.sent else Retry(answer.reason)
    return Outcome(verdict, took_ms=took_ms, ambiguous=answer.sent, well=False)


def _in_words(verdict: Verdict, shown: Verdict, words: str) -> Verdict:
    """Return a verdict in the words of one on what may be shown, as words may be cut anywhere."""
    if isinstance(verdict, Told):
        return verdict
    if type(shown) is not type(verdict) or isinstance(shown, Told):
        return replace(verdict, reason=words)
    return replace(verdict, reason=shown.reason)


def _is_ambiguous(vendor: AnyVendor, call: Call, status: int) -> bool:
    """Tell whether a call that was answered so may have been counted all the same.

    Any error of a vendor may have come after it had counted. It is doubted where the doubt clears
    up by itself: the call may be repeated just as it was, or the vendor be asked.
    """
    clears_up = call.repeatable or vendor.capabilities.askable
    return status in retry.AMBIGUOUS or (clears_up and 500 <= status <= 599)


def without_person(outcome: Outcome, removed: Conversion) -> Outcome:
    """Leave out what a vendor answered, and by what it knows somebody, who was removed."""
    verdict = outcome.verdict
    if isinstance(verdict, Told):
        verdict = forget_told(verdict, names_told(verdict, removed))
    else:
        verdict = replace(verdict, reason=forget_words(verdict.reason))
    return replace(outcome, verdict=verdict, answer="")
