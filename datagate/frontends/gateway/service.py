"""The gateway as a service: one process or several on one port, signals, logs.

SIGTERM and SIGINT drain: nobody new is served, transactions end. SIGHUP reads policies, users and certificates anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import uvloop

from datagate.errors import DatagateError, OperationalError
from datagate.frontends.gateway.login import Tokens
from datagate.frontends.gateway.protocol.startup import Cancel
from datagate.frontends.gateway.sockets import bind, raise_descriptor_limit
from datagate.frontends.gateway.watch import Watch
from datagate.frontends.gateway.worker import Settings, Worker
from datagate.gate import Gate

LOG = logging.getLogger("datagate.gateway")
_RESTART_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Service:
    """What the whole gateway is told.

    ``open_gate`` reads catalog and policies, and puts what is to be closed at the end on the stack that it is given; it
    is called in each process.
    """

    settings: Settings
    open_gate: Callable[[ExitStack], Gate]
    host: str = "127.0.0.1"
    port: int = 6432
    watch_host: str = "127.0.0.1"
    watch_port: int | None = None
    workers: int = 1
    tokens: Tokens | None = None


def run(service: Service) -> None:
    """Serve until a signal ends it.

    Raises:
        DatagateError: The port is taken, policies are wrong, files cannot be read.
    """
    raise_descriptor_limit()
    if service.workers == 1:
        uvloop.run(_serve(service, None))
        return
    with tempfile.TemporaryDirectory(prefix="datagate-") as folder:
        _supervise(service, Path(folder))


def _supervise(service: Service, folder: Path) -> None:
    """Start the workers, hand signals on, and start those anew that end unasked.

    Raises:
        OperationalError: A worker cannot even begin.
    """
    running: dict[int, int] = {}
    ending = failed = False

    def start(number: int) -> None:
        process = os.fork()
        if process:
            running[process] = number
        else:
            _work(replace(service, settings=replace(service.settings, number=number)), folder)

    def hand_on(number: int, _frame: object) -> None:
        nonlocal ending
        ending = ending or number != signal.SIGHUP
        for process in tuple(running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    for first in range(service.workers):
        start(first)
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, hand_on)
    while running:
        process, status = os.wait()
        number = running.pop(process)
        if ending or not status:
            continue
        LOG.error("worker ended", extra={"event": "worker-ended", "worker": number})
        if not _Mailbox.place(folder, number).exists():
            # It never began to serve, and what kept it from that would keep the next one too.
            failed = True
            hand_on(signal.SIGTERM, None)
            continue
        time.sleep(_RESTART_SECONDS)
        if not ending:
            start(number)
    if failed:
        raise OperationalError("a worker did not begin to serve; see above")


def _work(service: Service, folder: Path) -> None:
    """Be a worker, to the end of this process."""
    status = 1
    try:
        uvloop.run(_serve(service, folder))
        status = 0
    except (DatagateError, psycopg.Error) as error:
        LOG.error(str(error), extra={"event": "failed", "worker": service.settings.number})  # noqa: TRY400 - one line
    finally:
        os._exit(status)


async def _serve(service: Service, folder: Path | None) -> None:
    """One process: serve until a signal."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    listener = bind(service.host, service.port)
    try:
        closing = ExitStack()
        gate = await asyncio.to_thread(service.open_gate, closing)
        worker = Worker(service.settings, gate, service.tokens, closing)
        mailbox = _Mailbox(worker, service.settings.number, folder) if folder is not None else None
        worker.start(listener, mailbox.post if mailbox is not None else None)
    except BaseException:
        listener.close()
        raise
    watch = Watch(lambda: not ended.is_set() and not worker.pool.failures, worker.measures.text)
    if service.watch_port is not None:
        await watch.start(service.watch_host, service.watch_port + service.settings.number if service.watch_port else 0)

    def reload() -> None:
        worker.tasks.add(task := loop.create_task(_reload(worker)))
        task.add_done_callback(worker.tasks.discard)

    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    port = listener.getsockname()[1]
    LOG.info(f"listening on {service.host}:{port}", extra={"event": "listening", "worker": service.settings.number})
    await ended.wait()
    LOG.info("draining", extra={"event": "draining", "worker": service.settings.number})
    await worker.stop()
    await watch.stop()
    if mailbox is not None:
        mailbox.close()


async def _reload(worker: Worker) -> None:
    """Take new policies and certificates; where they are wrong, the old ones stay."""
    try:
        reloaded = await asyncio.to_thread(worker.reload)
    except DatagateError as error:
        LOG.warning(f"not reloaded: {error}", extra={"event": "reload-failed"})
        return
    if reloaded.accepted:
        LOG.info(f"policies {reloaded.version:.12} are in force", extra={"event": "reloaded"})
    else:
        # Why, is what `datagate.policies` has just logged.
        LOG.warning(f"not reloaded: policies {reloaded.version:.12} stay", extra={"event": "reload-failed"})


class _Mailbox:
    """Cancel requests between the workers: the listening socket may have given one to another process."""

    def __init__(self, worker: Worker, number: int, folder: Path) -> None:
        self._worker = worker
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        own = self.place(folder, number)
        own.unlink(missing_ok=True)
        self._socket.bind(str(own))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    @staticmethod
    def place(folder: Path, number: int) -> Path:
        """Where the requests for a worker arrive; there is such a socket from when it first serves."""
        return folder / str(number)

    def post(self, number: int, request: Cancel) -> None:
        """Send a request to the worker whose session it speaks of."""
        with contextlib.suppress(OSError):
            message = request.process.to_bytes(4, "big") + request.key
            self._socket.sendto(message, str(self.place(self._folder, number)))

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            data = self._socket.recv(300)
            self._worker.keys.cancel(Cancel(int.from_bytes(data[:4], "big"), data[4:]))

    def close(self) -> None:
        """Take no more."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
