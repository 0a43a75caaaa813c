"""``gatepost serve``: run the server until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.cli.options import config_option
from gatepost.errors import ConfigError

if TYPE_CHECKING:
    from gatepost.app import Worker
    from gatepost.config.schema import Config

__all__ = ["serve"]

_STDOUT = 1

_log = logging.getLogger("gatepost.serve")


@click.command()
@config_option
@click.option(
    "--loop",
    type=click.Choice(["auto", "uvloop", "asyncio"]),
    default="auto",
    help="Event loop; auto is uvloop where it is installed.",
)
def serve(config: Config, loop: str) -> None:
    """Take mail from users and apps, keep it, and relay it onward.

    Logs go to standard output as JSON lines; "ready" among them says that all listeners accept.  SIGTERM and SIGINT
    end it, after what is on its way has come to its end; a second one ends it at once.
    """
    from gatepost.app import Worker, open_sockets, tls_context
    from gatepost.config.check import check
    from gatepost.observe.emit import Emitter
    from gatepost.observe.log import open_log

    os.umask(0o077)
    findings = check(config)
    if findings.problems:
        raise ConfigError(*findings.problems)
    _raise_descriptor_limit()
    config.state_dir.mkdir(parents=True, exist_ok=True)
    for store in config.store:
        _migrate(store.path)
    context = tls_context(config)
    observe = config.observe
    log = open_log(observe.log_file or _STDOUT, observe.log_level, observe.log_format)
    for warning in findings.warnings:
        _log.warning("weak configuration", extra={"warning": warning})
    try:
        worker = Worker(config, open_sockets(config), context, Emitter(log))
        with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
            runner.run(_run(worker))
    finally:
        log.close()


async def _run(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    await worker.start()
    number = await signals.get()
    stopping = asyncio.create_task(worker.stop(reason=number.name))
    again = asyncio.create_task(signals.get())
    await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await worker.stop(grace=0.0, reason="told twice")
    again.cancel()
    await asyncio.gather(stopping, again, return_exceptions=True)


def _loop_factory(name: str) -> type[asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if name == "uvloop":
            raise click.UsageError("uvloop is not installed; use --loop asyncio") from None
        return None
    return uvloop.Loop


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _migrate(path: Path) -> None:
    """Make the accounts database, or bring it up to date, in a process of its own: this one stays small."""
    from gatepost.identity.stores.sqlite import is_current

    if not is_current(path):
        done = subprocess.run([sys.executable, "-m", "gatepost.identity.migrate", str(path)], check=False)  # noqa: S603
        if done.returncode:
            raise ConfigError(f"{path}: the accounts database cannot be brought up to date; see above")
