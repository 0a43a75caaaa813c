"""``gatepost serve``: run the server until it is told to stop."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gatepost.cli.options import config_option
from gatepost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.config.schema import Config
    from gatepost.observe.board import Board
    from gatepost.state.lock import StateLock

__all__ = ["serve"]

# A server that is about to end holds its lock for as long as its clients are given.
_LOCK_PATIENCE: Final = 40.0


class _Serve(click.Command):
    """The verb, which misses no SIGHUP from its first moment on."""

    def make_context(self, *words: Any, **named: Any) -> click.Context:
        """Read the words, and the configuration with them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # it waits for who can reload
        return super().make_context(*words, **named)


@click.command(cls=_Serve)
@config_option
@click.option(
    "--workers", type=click.IntRange(0, 64), help="Processes that take and deliver mail; 0 is one for each core."
)
@click.option(
    "--loop",
    type=click.Choice(["auto", "uvloop", "asyncio"]),
    default="auto",
    help="Event loop; auto is uvloop where it is installed.",
)
def serve(config: Config, workers: int | None, loop: str) -> None:
    """Take mail from users and apps, keep it, and relay it onward.

    Logs go to standard output as JSON lines; "ready" among them says that all listeners accept.  SIGTERM and SIGINT
    end it, after what is on its way has come to its end; a second one ends it at once.  SIGHUP lets it read its
    configuration and certificates anew.
    """
    from gatepost.child import loop_factory, open_event_log
    from gatepost.config.check import check
    from gatepost.cores import cores
    from gatepost.observe.emit import Emitter
    from gatepost.parts import bring_stores_up, open_sockets, tls_context
    from gatepost.supervisor import Supervisor
    from gatepost.systemd import assign, inherited_sockets

    os.umask(0o077)
    findings = check(config)
    if findings.problems:
        raise ConfigError(*findings.problems)
    loop_factory(loop)
    _raise_descriptor_limit()
    given = assign(inherited_sockets(os.environ), [(each.name, each.address, each.port) for each in config.listener])
    lock = _lock(config.state_dir)
    sockets = []
    try:
        bring_stores_up(config)
        context = tls_context(config)
        log = open_event_log(config, has_thread=False)
        for warning in findings.warnings:
            log.say("warning", "weak configuration", warning=warning)
        if config.observe.audit_file is not None:
            _try_audit_file(config.observe.audit_file)
        sockets = open_sockets(config, given)
        admin = _admin(config)
        wanted = config.workers if workers is None else workers
        supervisor = Supervisor(
            config,
            sockets,
            context,
            Emitter(log),
            workers=wanted or cores(),
            loop=loop,
            leaves_sockets=bool(given),
            admin=admin,
        )
        code = supervisor.run()
    finally:
        for sock in sockets:
            sock.close()
        lock.release()
    raise SystemExit(code)


def _admin(config: Config) -> Callable[[Board], None] | None:
    """Bind the socket of the admin process, if there is to be one; return what that process does."""
    if config.admin.listen is None:
        return None
    from gatepost.listener.listener import bind

    host, _, port = config.admin.listen.rpartition(":")
    sock = bind("admin", host.strip("[]"), int(port))

    def be_it(board: Board) -> None:
        from gatepost.admin.server import run

        run(config, sock, board)

    return be_it


def _try_audit_file(path: Path) -> None:
    from gatepost.observe.audit import try_file

    try:
        try_file(path)
    except OSError as error:
        raise ConfigError(
            f"observe.audit_file: {path} cannot be opened: {error.strerror}; check folder and rights"
        ) from None


def _lock(state_dir: Path) -> StateLock:
    from gatepost.state.lock import InUse, StateLock

    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return StateLock(state_dir, patience=_LOCK_PATIENCE, wait=_say_who_is_waited_for)
    except InUse as error:
        raise ConfigError(f"state_dir: {error}; stop it first, or give this server a state_dir of its own") from None
    except OSError as error:
        raise ConfigError(
            f"state_dir: {state_dir} cannot be used: {error.strerror}; check the path and who owns it"
        ) from None


def _say_who_is_waited_for(trouble: Exception) -> None:
    click.echo(f"gatepost: {trouble}; waiting for its end", err=True)


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
