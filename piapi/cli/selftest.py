"""piapi selftest: whether all that is configured works on this machine."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any

import click

import config
from piapi.cli.data import as_owner_of
from piapi.cli.local import LocalService, Refused
from piapi.clock import SystemClock
from piapi.console import run_folder
from piapi.errors import ConfigurationError
from piapi.selftest.checklist import examine
from piapi.selftest.results import Finding, Outcome, Result, is_sound, markdown_of, summary_of
from piapi.selftest.site import API, Service, Site, Unanswered
from piapi.timekeeping import clock_is_synchronised

_COMMAND_WITHIN_S = 10.0
_COLOURS = {Outcome.OK: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}


@click.command()
@click.option("--no-ask", is_flag=True, help="Move nothing and wait for nobody: what needs a person is skipped.")
@click.option(
    "--report",
    type=click.File("w", encoding="utf-8", lazy=False),
    help="Write a report in Markdown, for a bug report, without secrets; - for standard output.",
)
def selftest(no_ask: bool, report: IO[str] | None) -> None:
    """Check this machine, and all that is configured, one after the other; 0 when nothing failed.

    piapi has to run: cameras and lines are its own, and are tried through it. Without it the rest is checked. An output
    is switched on for a second when you say yes, a door's button is pressed when you type the door's name.
    """
    aside = report is not None and report.name == "<stdout>"  # then the report alone is on standard output
    is_asking = not no_ask and can_ask()
    if not no_ask and not is_asking:
        click.echo("Nobody can be asked here, as standard input is no terminal: as with --no-ask.", err=True)
    findings: list[Finding] = []
    interrupted = False
    with _site(Terminal() if is_asking else None) as site:
        try:
            for finding in examine(site):
                findings.append(finding)
                _show(finding.result, aside)
        except KeyboardInterrupt:
            interrupted = True
            click.echo("\nInterrupted. What was switched on is off.", err=True)
    click.echo(f"\n{summary_of(findings)}.", err=aside)
    if report is not None:
        report.write(markdown_of(findings, SystemClock().now(), interrupted))
    if interrupted or not is_sound(findings):
        sys.exit(1)


def can_ask() -> bool:
    """Whether a person is there to answer."""
    return sys.stdin.isatty()


class Terminal:
    """A person at a terminal."""

    def tell(self, text: str) -> None:
        """Say what comes."""
        click.echo(text, err=True)

    def agrees(self, question: str, default: bool) -> bool:
        """Yes or no."""
        with _interruptible():
            return click.confirm(question, default=default, err=True)

    def witnessed(self, question: str) -> bool | None:
        """y, n, or s when they cannot tell."""
        with _interruptible():
            answer = click.prompt(question, type=click.Choice(["y", "n", "s"], case_sensitive=False), err=True)
        return {"y": True, "n": False}.get(answer)

    def names(self, question: str, name: str) -> bool:
        """Whether they type it."""
        with _interruptible():
            answer: str = click.prompt(question, default="", show_default=False, err=True)
        return answer.strip() == name


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and the end of the input are what they are everywhere, not an exception of click's own."""
    try:
        yield
    except click.Abort as error:
        raise KeyboardInterrupt from error


class Local:
    """The service behind its local socket, for checks."""

    def __init__(self, service: LocalService) -> None:
        self._service = service

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """The document that is the answer. Raises Unanswered."""
        with _unanswered():
            return self._service.ask(method, path, body, key)

    def fetch(self, path: str) -> bytes:
        """The bytes of a file. Raises Unanswered."""
        with _unanswered():
            return self._service.fetch(path)


@contextlib.contextmanager
def _unanswered() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        raise Unanswered(error.message, error.status if isinstance(error, Refused) else None) from error


@contextlib.contextmanager
def _site(person: Terminal | None) -> Iterator[Site]:
    """This machine, with the service if it runs."""
    faults: Sequence[str] = ()
    settings: config.Settings | None = None
    try:
        settings = config.load()
    except ConfigurationError as error:
        faults = error.faults
    folder = run_folder(settings.storage.path) if settings else None
    with contextlib.ExitStack() as stack:
        service: Service | None = None
        no_service = "It is not asked, as the configuration is not sound."
        if folder is not None:
            local = LocalService(folder)
            stack.callback(local.close)
            service, no_service = _if_it_answers(Local(local))
        yield Site(
            settings=settings,
            clock=SystemClock(),
            run=run,
            is_synchronised=clock_is_synchronised,
            run_folder=folder,
            faults=faults,
            hints=config.hints(settings) if settings else (),
            service=service,
            no_service=no_service,
            person=person,
            as_owner_of=as_owner_of,
        )


def _if_it_answers(service: Local) -> tuple[Local | None, str]:
    try:
        service.ask("GET", f"{API}/")
    except Unanswered as error:
        return None, str(error)
    return service, ""


def run(command: Sequence[str]) -> str | None:
    """What a command prints; None when it cannot be run or fails."""
    try:
        done = subprocess.run(  # noqa: S603 — the checks' own
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMMAND_WITHIN_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _show(result: Result, aside: bool) -> None:
    outcome = click.style(f"{result.outcome:<8}", fg=_COLOURS[result.outcome])
    click.echo(f"{outcome}{result.name}: {result.detail}", err=aside)
    if result.remedy:
        click.echo(f"{'':8}→ {result.remedy}", err=aside)
