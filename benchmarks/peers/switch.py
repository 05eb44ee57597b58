"""Flask and a token, as in the tutorials: two views that switch a gpiozero LED, one of which writes it down first."""

import hashlib
import os
import sqlite3

from flask import Flask, request
from flask_httpauth import HTTPTokenAuth
from gpiozero import LED, Device
from gpiozero.pins.mock import MockFactory

Device.pin_factory = MockFactory()

app = Flask(__name__)
auth = HTTPTokenAuth("Bearer")
callers = {hashlib.sha256(os.environ["PEER_TOKEN"].encode()).digest(): "bench"}
leds = {"relay": LED(17)}
database = sqlite3.connect(os.environ["PEER_DATABASE"], isolation_level=None, check_same_thread=False)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE commands (id INTEGER PRIMARY KEY, pin TEXT, value INTEGER, caller TEXT)")


@auth.verify_token
def caller(token: str) -> str | None:
    return callers.get(hashlib.sha256(token.encode()).digest())


@app.put("/pins/<name>/value")
@auth.login_required
def switch(name: str) -> dict[str, object]:
    leds[name].value = bool(request.get_json()["value"])
    return {"name": name, "value": bool(leds[name].value)}


@app.put("/journal/pins/<name>/value")
@auth.login_required
def write_down_and_switch(name: str) -> dict[str, object]:
    command = (name, request.get_json()["value"], auth.current_user())
    database.execute("INSERT INTO commands (pin, value, caller) VALUES (?, ?, ?)", command)
    return switch(name)


@app.get("/")
def hello() -> dict[str, str]:
    return {"name": "switch"}
