"""Lines that the journal likes, and that no client can forge."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from piapi.logs import LineFormatter, goes_to_journal, request_id
from tests.service import running


def record(message: str, *arguments: object, level: int = logging.WARNING, fails: bool = False) -> logging.LogRecord:
    info = None
    if fails:
        try:
            raise ValueError("bad\nlooking")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("piapi", level, __file__, 1, message, arguments, info)


@pytest.mark.parametrize(("level", "prefix"), [(50, "<2>"), (40, "<3>"), (30, "<4>"), (20, "<6>"), (10, "<7>")])
def test_in_the_journal_a_record_is_one_line_with_its_level(level: int, prefix: str) -> None:
    line = LineFormatter(in_journal=True).format(record("a fault with %s", "it", level=level, fails=True))
    assert line.startswith(f"{prefix}a fault with it | Traceback") and "\n" not in line
    assert line.endswith("ValueError: bad | looking")


def test_by_hand_there_is_a_time_and_the_traceback_stands_below() -> None:
    lines = LineFormatter(in_journal=False).format(record("a fault", fails=True)).split("\n")
    assert lines[0].endswith(" warning: a fault") and lines[0][:2] == "20"
    assert all(line.startswith("    ") for line in lines[1:]) and lines[-1] == "    looking"


@pytest.mark.parametrize("text", ["x\n<0>panic", "x\r\nforged", "\x1b[2J", "a\u2028b", "a\x85b"])
def test_what_a_client_sends_begins_no_line_and_moves_no_cursor(text: str) -> None:
    for in_journal in (True, False):
        line = LineFormatter(in_journal).format(record("path %s", text))
        assert line.splitlines() == [line] and line.isprintable()


def test_a_record_has_the_id_of_its_request() -> None:
    token = request_id.set("abc123")
    try:
        assert LineFormatter(in_journal=True).format(record("slow")) == "<4>slow [abc123]"
    finally:
        request_id.reset(token)
    assert LineFormatter(in_journal=True).format(record("slow")) == "<4>slow"


def test_it_is_the_journal_only_if_systemd_says_so_of_this_very_stream() -> None:
    status = os.fstat(sys.__stderr__.fileno()) if sys.__stderr__ else None
    assert not goes_to_journal({})
    assert not goes_to_journal({"JOURNAL_STREAM": "1:2"}) and not goes_to_journal({"JOURNAL_STREAM": "rubbish"})
    if status is not None and sys.stderr is sys.__stderr__:
        assert goes_to_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})


def test_no_secret_and_no_request_is_logged_and_a_quiet_level_is_quiet(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        token = service.token()
        for secret in (token, "piapi_wrongwrongwrong"):
            service.call("GET", "/api/v1/cameras?secret=inquery", secret)
        service.stop()
    assert b"piapi_" not in service.said and b"inquery" not in service.said
    assert b" info: " in service.said, "starting and ending are told"
    (tmp_path / "quiet").mkdir()
    with running(tmp_path / "quiet", PIAPI_LOG_LEVEL="error") as service:
        service.call("GET", "/api/v1/cameras", "piapi_wrong")
        service.stop()
    assert b" info: " not in service.said
