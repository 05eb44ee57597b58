"""Server-sent events as in the tutorials: a queue for each client, and a generator that waits on it, in a thread."""

import itertools
import json
import queue
from collections.abc import Iterator
from datetime import UTC, datetime

from flask import Flask, Response

app = Flask(__name__)
listeners: list[queue.Queue[str]] = []
numbers = itertools.count(1)


@app.post("/events")
def publish() -> tuple[str, int]:
    number = next(numbers)
    entry = {
        "id": number,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "type": "photo.changed",
        "subject": "camera:demo",
        "actor": "token:bench",
        "data": {"id": "5f1d7a84c0b2e913", "pinned": True, "links": {"photo": "/api/v1/photos/5f1d7a84c0b2e913"}},
    }
    message = f"id: {number}\nevent: photo.changed\ndata: {json.dumps(entry)}\n\n"
    for listener in listeners:
        listener.put(message)
    return "", 204


@app.get("/events")
def stream() -> Response:
    listener: queue.Queue[str] = queue.Queue()
    listeners.append(listener)

    def messages() -> Iterator[str]:
        try:
            yield "retry: 3000\n\n"
            while True:
                yield listener.get()
        finally:
            listeners.remove(listener)

    return Response(messages(), mimetype="text/event-stream")
