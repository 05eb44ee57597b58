"""What a check has found, and all of it as a report in Markdown."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from piapi.clock import format_time


class Outcome(StrEnum):
    """How a check has ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    detail: str
    """What was seen, or why nothing was."""
    remedy: str = ""
    """What helps; empty where nothing has to be done."""


def ok(name: str, detail: str, remedy: str = "") -> Result:
    """It is as it should be. A remedy is for what may still be looked at."""
    return Result(name, Outcome.OK, detail, remedy)


def failed(name: str, detail: str, remedy: str) -> Result:
    """It is not as it should be."""
    return Result(name, Outcome.FAILED, detail, remedy)


def skipped(name: str, detail: str, remedy: str = "") -> Result:
    """It was not looked at, or cannot be known."""
    return Result(name, Outcome.SKIPPED, detail, remedy)


@dataclass(frozen=True, slots=True)
class Finding:
    """A result, under the heading of its check."""

    heading: str
    result: Result


def summary_of(findings: Sequence[Finding]) -> str:
    """`12 ok, 1 failed, 3 skipped`."""
    counts = Counter(finding.result.outcome for finding in findings)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)


def is_sound(findings: Sequence[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.result.outcome is not Outcome.FAILED for finding in findings)


def markdown_of(findings: Sequence[Finding], at: datetime, interrupted: bool = False) -> str:
    """The report, as a bug report takes it."""
    lines = ["# piapi selftest", "", f"{format_time(at)}: {summary_of(findings)}."]
    if interrupted:
        lines += ["", "**Interrupted**: what is not below was not looked at."]
    for heading, group in itertools.groupby(findings, lambda finding: finding.heading):
        lines += ["", f"## {heading}", "", "| | what | found | remedy |", "| --- | --- | --- | --- |"]
        lines += [_row(finding.result) for finding in group]
    return "\n".join(lines) + "\n"


def _row(result: Result) -> str:
    outcome = f"**{result.outcome}**" if result.outcome is Outcome.FAILED else str(result.outcome)
    cells = (outcome, *(_cell(text) for text in (result.name, result.detail, result.remedy)))
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return "<br>".join(text.replace("|", "\\|").splitlines())
