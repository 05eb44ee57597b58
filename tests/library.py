"""A data folder with photos in it, for tests of the commands about data."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import config
from piapi.app import create_app
from piapi.cli import main
from tests.conftest import Api


@contextlib.contextmanager
def started(settings: config.Settings, token: str | None = None) -> Iterator[Api]:
    """The application, from a start to a close, with a client that may do everything."""
    app = create_app(settings)
    runtime = app.extensions["piapi"]
    try:
        runtime.start()
        yield Api(app.test_client(), token or runtime.services.access.create_token("test", role="admin")[1])
    finally:
        runtime.close()


def take(api: Api, **wanted: Any) -> dict[str, Any]:
    """A small photo."""
    response = api.post("/cameras/demo/photos", json={"width": 64, **wanted})
    assert response.status_code == 201, response.get_data(as_text=True)
    photo: dict[str, Any] = response.get_json()
    return photo


def file_of(settings: config.Settings, photo: dict[str, Any]) -> Path:
    """Its file."""
    (path,) = (settings.storage.path / "photos" / photo["id"][:2]).glob(f"{photo['id']}.*")
    return path


def execute(settings: config.Settings, sql: str, *values: object) -> list[Any]:
    """A statement, past everything."""
    with contextlib.closing(sqlite3.connect(settings.storage.path / "piapi.db")) as connection, connection:
        return connection.execute(sql, values).fetchall()


def piapi(data: Path, *arguments: str, **environ: str | None) -> Result:
    """The command line on a data folder."""
    variables = {"PIAPI_DATA": str(data), "PIAPI_CONFIG": None, **environ}
    return CliRunner().invoke(main, arguments, env=variables)
