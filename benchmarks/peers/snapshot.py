"""Bare Flask views: one returns a JPEG, one a few words."""

import os
from pathlib import Path

from flask import Flask, Response

JPEG = Path(os.environ["PEER_JPEG"]).read_bytes()

app = Flask(__name__)


@app.get("/snapshot")
def snapshot() -> Response:
    return Response(JPEG, mimetype="image/jpeg")


@app.get("/")
def hello() -> dict[str, str]:
    return {"name": "bare"}
