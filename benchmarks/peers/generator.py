"""MJPEG as in the tutorials: one thread reads the camera, each viewer has a thread that waits for the next frame, and a
generator wraps that up and yields it. The camera's JPEGs are passed on as they are, which the tutorials do not do."""

import os
import threading
from collections.abc import Iterator

import av
from flask import Flask, Response

av.logging.set_level(None)


class Camera:
    """Shows each frame to whoever waits."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.number = 0
        self.frame = b""
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        options = {"input_format": "mjpeg", "video_size": os.environ["PEER_SIZE"], "fflags": "nobuffer"}
        with av.open(os.environ["PEER_DEVICE"], format="v4l2", options=options) as container:
            for packet in container.demux(video=0):
                with self.changed:
                    self.number, self.frame = self.number + 1, bytes(packet)
                    self.changed.notify_all()

    def next(self, seen: int) -> tuple[int, bytes]:
        with self.changed:
            self.changed.wait_for(lambda: self.number != seen)
            return self.number, self.frame


app = Flask(__name__)
camera = Camera()


def parts() -> Iterator[bytes]:
    number = 0
    while True:
        number, jpeg = camera.next(number)
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
        yield head + jpeg + b"\r\n"


@app.get("/stream")
def stream() -> Response:
    return Response(parts(), mimetype="multipart/x-mixed-replace; boundary=frame")
