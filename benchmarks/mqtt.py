"""A pin switched over HTTP, beside mqtt-io behind mosquitto: from the order to the word that it is done."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import median, spread
from benchmarks.pins import OURS
from benchmarks.processes import Failed, free_port, program, running
from benchmarks.switching import PIN, Switch, Taken, both_folders, more_tokens, piapi_with_pins
from benchmarks.table import Row, compared
from benchmarks.tools import python_with

MQTT_IO = ("mqtt-io==2.7.0", "aiomqtt==2.5.1", "paho-mqtt==2.2.0")
READY_S = 20.0

_CONNECT, _CONNACK, _PUBLISH, _SUBSCRIBE, _SUBACK = 1, 2, 3, 8, 9


def measure(lab: Lab) -> list[Row]:
    """Both run, and are asked in turns: with piapi's data on the disk, then where a sync costs nothing."""
    with mqtt_io(lab) as port, contextlib.closing(MqttClient(port)) as client, both_folders(lab, "mqtt") as folders:
        client.wait_for_pin(READY_S)
        return [_row(lab, where, folder, client) for where, folder in folders.items()]


def _row(lab: Lab, where: str, folder: Path, client: MqttClient) -> Row:
    with piapi_with_pins(folder) as server:
        ours = Switch(server, OURS, more_tokens(server))
        for switch in (ours, client):
            switch.alternate(0.5)
        seconds = lab.take(2, 1)
        rounds = [(ours.alternate(seconds).all, client.alternate(seconds).all) for _ in range(lab.rounds(5))]
    mine, its = ([taken[side] for taken in rounds] for side in (0, 1))
    ratio = median([median(one) / median(other) for one, other in zip(mine, its, strict=True)])
    texts = [spread(list(itertools.chain(*side))) for side in (mine, its)]
    what = f"order to switch a pin → word that it is done, {where}: p50"
    return compared(what, texts[0], f"{texts[1]} mqtt-io and mosquitto", ratio, "≤ 1")


@contextlib.contextmanager
def mqtt_io(lab: Lab) -> Iterator[int]:
    """mosquitto on the port that this gives, and mqtt-io with a mock pin. Raises Missing."""
    broker, python = program("mosquitto", "mosquitto"), python_with("mqtt-io", *MQTT_IO)
    folder, port = lab.new_folder("mosquitto"), free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with running([broker, "-c", str(settings)], folder):
        _wait_for_listener(port)
        folder = lab.new_folder("mqtt-io")
        settings = folder / "mqtt-io.json"  # it reads YAML, of which JSON is a part
        settings.write_text(json.dumps(_settings(port)))
        with running([str(python), "-m", "mqtt_io", str(settings)], folder):
            yield port


def _settings(port: int) -> dict[str, object]:
    return {
        "mqtt": {"host": "127.0.0.1", "port": port, "topic_prefix": "bench"},
        "gpio_modules": [{"name": "mock", "module": "mock"}],
        "digital_outputs": [{"name": PIN, "module": "mock", "pin": 17}],
    }


def _wait_for_listener(port: int) -> None:
    give_up = time.monotonic() + READY_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > give_up:
                raise Failed("mosquitto does not listen") from None
            time.sleep(0.02)
        else:
            return


class MqttClient:
    """As much of MQTT 3.1.1 as is needed, with quality of service 0: a library would cost more."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._state = f"bench/output/{PIN}".encode()
        self._orders = [_packet(_PUBLISH << 4, _text_of(self._state + b"/set") + value) for value in (b"ON", b"OFF")]
        self._send(_CONNECT << 4, _text_of(b"MQTT") + b"\x04\x02" + struct.pack("!H", 0) + _text_of(b"bench"), _CONNACK)
        self._send(_SUBSCRIBE << 4 | 2, b"\x00\x01" + _text_of(self._state) + b"\x00", _SUBACK)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def wait_for_pin(self, timeout_s: float) -> None:
        """Until mqtt-io answers. Raises Failed."""
        give_up = time.monotonic() + timeout_s
        self._socket.settimeout(0.5)
        while time.monotonic() < give_up:
            with contextlib.suppress(TimeoutError):
                self.exchange(self._orders[0], b"ON")
                self._socket.settimeout(5)
                return
        raise Failed("mqtt-io does not answer")

    def alternate(self, seconds: float) -> Taken:
        """How long it took until the state came, for each order."""
        taken, end = Taken(), time.perf_counter() + seconds
        while time.perf_counter() < end:
            for order, value, of in zip(self._orders, (b"ON", b"OFF"), (taken.on, taken.off), strict=True):
                asked = time.perf_counter()
                self.exchange(order, value)
                of.append((time.perf_counter() - asked) * 1000)
        return taken

    def exchange(self, order: bytes, value: bytes) -> None:
        """Send an order, and wait until the pin is said to be at this value."""
        self._socket.sendall(order)
        wanted = _text_of(self._state) + value
        while True:
            kind, body = self._receive()
            if kind == _PUBLISH and body == wanted:
                return

    def _send(self, first: int, body: bytes, answer: int) -> None:
        self._socket.sendall(_packet(first, body))
        if (kind := self._receive()[0]) != answer:
            raise Failed(f"mosquitto answers with a packet of kind {kind}")

    def _receive(self) -> tuple[int, bytes]:
        while len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            if not (data := self._socket.recv(4096)):
                raise Failed("mosquitto hangs up")
            self._buffer += data
        end = 2 + self._buffer[1]
        kind, body, self._buffer = self._buffer[0] >> 4, self._buffer[2:end], self._buffer[end:]
        return kind, body


def _text_of(text: bytes) -> bytes:
    return struct.pack("!H", len(text)) + text


def _packet(first: int, body: bytes) -> bytes:
    assert len(body) < 128  # a length of one byte (MQTT 3.1.1, 2.2.3)
    return bytes((first, len(body))) + body
