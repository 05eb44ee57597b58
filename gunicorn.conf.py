"""How gunicorn runs piapi: one worker, which owns the hardware, with threads. Host and port come from config.py."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from pathlib import Path

# Before the current folder, which gunicorn puts first: a `config.py` or `run.py` that lies there is not ours.
_HERE = str(Path(__file__).resolve().parent)
sys.path.insert(0, _HERE)

from config import HOME, in_force  # noqa: E402
from piapi import __version__, console, logs  # noqa: E402
from piapi.errors import PiApiError  # noqa: E402
from piapi.storage.files import FolderLock  # noqa: E402
from piapi.storage.marker import require_disk  # noqa: E402
from piapi.supervision import Supervision, answers, beating, take_notifier  # noqa: E402

try:
    settings = in_force()
except PiApiError as error:
    sys.exit(f"piapi cannot start:\n{error}")

_host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
bind = [f"{_host}:{settings.server.port}"]
umask = 0o177  # of the socket for the command line; what the worker writes has the umask of the process
workers = 1
worker_class = "piapi.server.worker.Worker"
threads = settings.server.threads
worker_connections = 1000
keepalive = 75
# A worker that hangs is replaced by the master, which keeps lock and port. systemd's watchdog (WatchdogSec=90 in
# systemd/piapi.service) comes after that: it ends the master too, when this was no help.
timeout = 30
graceful_timeout = 10
preload_app = False
control_socket_disable = True
forwarded_allow_ips = ",".join(settings.server.trusted_proxies)
# What a proxy says of its client is read in one place, piapi/api/proxies.py, and a header never becomes a path.
secure_scheme_headers = {}
forwarder_headers = ""
accesslog = None
loglevel = settings.server.log_level
logconfig_dict = logs.configuration(settings.server.log_level)
worker_tmp_dir = "/dev/shm"  # noqa: S108 — the heartbeat's file; a disk that is slow must not kill the worker
proc_name = "piapi"

#: What gunicorn's arbiter takes for a worker that would fail again (Arbiter.WORKER_BOOT_ERROR): the master ends too.
_WORKER_BOOT_ERROR = 3

_lock = FolderLock(settings.storage.path)
_console = contextlib.ExitStack()  # what its address hangs on, as long as the master lives
_notifier = take_notifier()
_supervision = None  # the worker's

#: A connection has two descriptors while it takes a file.
_DESCRIPTORS = 2 * worker_connections + 512


def on_starting(server):
    """Refuse to be the second service on one data folder, or to use a folder whose disk is away, first of all."""
    sys.path.insert(0, _HERE)
    try:
        require_disk(settings.storage.path, settings.storage.on_own_disk)
        _lock.acquire()
    except PiApiError as error:
        sys.exit(f"piapi cannot start: {error}")
    _open_console(server)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _DESCRIPTORS:  # 1024 by default, which as many slow downloads would use up
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))


def _open_console(server):
    """Listen for the command line, too. Where that is not possible, everything else is."""
    folder = console.run_folder(settings.storage.path)
    try:
        console.make_place(folder)
        address = _console.enter_context(console.address_in(folder))
    except OSError as error:
        server.log.warning("`piapi timelapse` will find no service: no socket in %s: %s", folder, error)
    else:
        server.cfg.set("bind", [*bind, f"unix:{address}"])


def _url(address):
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}/"


def when_ready(server):
    """Say where it is, and how to get in."""
    # Two workers would be two owners of the hardware: more of them, a second master, and a reload that starts the new
    # one first are refused. A hang-up (the terminal is closed, by hand) is an end like any other.
    for refused in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2):
        signal.signal(refused, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(ending, lambda number, frame: (_notifier.tell("STOPPING=1"), server.signal(number, frame)))
    url = _url(server.LISTENERS[0].getsockname())
    say = [f"piapi {__version__}: {url}   (API: {url}api/v1/)"]
    if settings.demonstration:
        say.append("SIMULATED HARDWARE: this is a demonstration; no real camera, pin or door is touched.")
    elif settings.file is None:
        say.append("There is no piapi.toml: the cameras found are used, and no pins. `piapi init` writes one.")
    command = "sudo piapi" if HOME in os.environ else ".venv/bin/piapi"
    say.append(f"A token:  {command} tokens create --name me --role admin")
    say.append("In a browser, log in as user `token` with the token as password.")
    say.append(f"A phone:  {command} pair phone   (a link with a QR code)")
    sys.stdout.write("\n" + "\n".join(say) + "\n\n")
    sys.stdout.flush()


def pre_fork(server, worker):
    """What the master has is looked at by no garbage collector again, so that master and worker go on sharing it."""
    gc.collect()
    gc.freeze()


def post_fork(server, worker):
    """End if that was said already: until a worker has handlers of its own it has the master's, and they go nowhere."""
    endings = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    for ending in endings:
        signal.signal(ending, signal.SIG_DFL)
    while not server.SIG_QUEUE.empty():
        if server.SIG_QUEUE.get_nowait() in endings:
            sys.exit(0)


def post_worker_init(worker):
    """Start what has threads, in the worker; the master alone hears of a hang-up, and ends the worker in order."""
    global _supervision
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    runtime = worker.wsgi.extensions["piapi"]
    address = worker.sockets[0].getsockname()
    status = f"{_url(address)}{' (emulated hardware)' if runtime.services.emulated else ''}"
    _supervision = Supervision(_notifier, [answers(address), *runtime.checks], status)

    def interrupt():
        _supervision.interrupt()
        runtime.interrupt()

    worker.before_draining = interrupt
    try:
        require_disk(settings.storage.path, settings.storage.on_own_disk)  # it may have gone since the master began
        with beating(worker.notify):
            runtime.start()
    except PiApiError as error:
        sys.stderr.write(f"piapi cannot start: {error}\n")
        sys.exit(_WORKER_BOOT_ERROR)
    _supervision.start()
    if settings.demonstration and worker.age == 1:  # not again by one that replaces it
        _invite(runtime.services.pairings, address)


def _invite(pairings, address):
    """Print a link for a phone, and on a terminal its QR code. Of the demonstration alone: a code for real hardware has
    no place in a log. Where there can be none, everything else is."""
    from piapi import invitation  # here, so that the master never loads what the worker has
    from piapi.models import CONSOLE
    from piapi.services.pairings import OPEN_S

    try:
        _, code = pairings.create("demonstration", role="operator", by=CONSOLE)
        link = invitation.link_of(invitation.address_of(address[0]), address[1], code)
        say = [f"Pair a phone (good once, and for {OPEN_S // 60} minutes):  {link}"]
        if invitation.shows_qr(sys.stdout):
            say.append(invitation.qr_of(link))
        sys.stdout.write("\n".join(say) + "\n\n")
        sys.stdout.flush()
    except (PiApiError, OSError) as error:
        logging.getLogger("piapi").warning("there is no link to pair a phone with: %s", error)


def worker_exit(server, worker):
    """Let the hardware go."""
    if _supervision is not None:
        _supervision.close()
    runtime = getattr(getattr(worker, "wsgi", None), "extensions", {}).get("piapi")
    if runtime is not None:
        runtime.close()


def on_exit(server):
    """Give the data folder back."""
    _lock.release()
