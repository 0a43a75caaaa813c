"""OAuth tokens of routes, as all workers and the command line share them: one sealed file for each route.

    store = TokenStore(state_dir, load_keys(path))
    async with store.renewing("out", patience=15.0):        # nobody else renews meanwhile, in whatever process
        tokens = await store.read("out")
        ...
        await store.write("out", tokens)                    # on disk, or it raises

The files lie in ``state_dir/oauth``, sealed by a key of the node (AES-256-GCM) and bound to the name of their route: a
copy under another name does not open.  A file is replaced as a whole, and is on disk when `TokenStore.write` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import math
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatepost.errors import StateUnavailable
from gatepost.model.identity import Secret
from gatepost.state.keys import Keys

__all__ = ["TOKENS_FOLDER", "TokenStore", "Tokens"]

TOKENS_FOLDER: Final = "oauth"
_NONCE_BYTES: Final = 12
_FILE_LIMIT: Final = 1 << 20
_LOOK_EVERY: Final = 0.05
_NOTHING: Final = Secret(b"")
_SECRETS: Final = ("refresh_token", "access_token")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is known of one route's tokens; times are seconds since the epoch.

    Args:
        client: which client of which issuer they were given to (`OAuthClient.fingerprint`); a stranger never sees them.
        scopes: what the access token was asked for.
        refresh_token: gets new ones; empty without a login, and where the client logs in as itself.
        access_token: logs us in at the next hop; empty if there is none.
        issued_at: when the access token came.
        expires_at: when it ends.
        asked_at: when the issuer was last asked.
        settled_at: when what came of it was written down; before *asked_at*, while the answer is awaited.
        trouble: what came of it: ``""``, ``away``, ``refused`` or ``revoked``.
        reason: the same in words.
        failures: how often in a row.
        retry_at: when the issuer is asked again, after trouble.
        after_refusal: whether the next hop had refused the access token before this one.
        warned_at: when it was last told that the client secret ends.
    """

    client: str = ""
    scopes: str = ""
    refresh_token: Secret = _NOTHING
    access_token: Secret = _NOTHING
    issued_at: float = 0.0
    expires_at: float = 0.0
    asked_at: float = 0.0
    settled_at: float = 0.0
    trouble: str = ""
    reason: str = ""
    failures: int = 0
    retry_at: float = 0.0
    after_refusal: bool = False
    warned_at: float = 0.0

    def pack(self) -> bytes:
        """Return it as octets, secrets and all."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return json.dumps(values | {name: values[name].reveal().decode("ascii") for name in _SECRETS}).encode()

    @classmethod
    def unpack(cls, octets: bytes) -> Tokens:
        """Read what `pack` made.

        Raises:
            ValueError: it is something else.
        """
        values = json.loads(octets)
        known = {each.name: each for each in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not values.keys() <= known.keys():
            raise ValueError("fields that are not known")
        for name, value in values.items():
            kind = type(known[name].default)
            if kind is Secret:
                values[name] = Secret(str(value).encode("ascii"))
            elif kind is float:
                values[name] = float(value)
                if not math.isfinite(values[name]):
                    raise ValueError("a time that is none")
            elif type(value) is not kind:
                raise ValueError("a value of another kind")
        return cls(**values)


class TokenStore:
    """The tokens of the routes of the node whose state_dir is *folder*.

    All methods raise `StateUnavailable` when the files cannot be used; its text says what to do.
    """

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._folder = folder / TOKENS_FOLDER
        self._cipher = AESGCM(keys.derive("oauth tokens"))

    def stamp(self, route: str) -> tuple[int, int, int]:
        """Return what changes whenever the tokens of *route* do; a look that costs microseconds."""
        try:
            status = self._path(route).stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_dev, status.st_ino, status.st_mtime_ns)

    async def read(self, route: str) -> Tokens:
        """Return the tokens of *route*; empty ones, if there are none."""
        return await asyncio.to_thread(self.read_now, route)

    def read_now(self, route: str) -> Tokens:
        """Return the same at once: for the command line."""
        path = self._path(route)
        try:
            with path.open("rb") as file:
                octets = file.read(_FILE_LIMIT)
        except FileNotFoundError:
            return Tokens()
        except OSError as error:
            raise StateUnavailable(f"{path}: cannot be read: {error.strerror}; correct who may read it") from None
        try:
            sealed = octets[_NONCE_BYTES:]
            return Tokens.unpack(self._cipher.decrypt(octets[:_NONCE_BYTES], sealed, _place(route)))
        except (InvalidTag, ValueError, TypeError, RecursionError):
            raise StateUnavailable(
                f"{path}: was not sealed with this secret_key_file, or is damaged; bring back the key that belongs to "
                f"it, or remove it and run: gatepost oauth login {route}"
            ) from None

    async def write(self, route: str, tokens: Tokens) -> None:
        """Replace the tokens of *route*; they are on disk when it returns.  Only for whoever is `renewing` it."""
        await asyncio.to_thread(self._write, route, tokens)

    @contextlib.asynccontextmanager
    async def renewing(self, route: str, patience: float) -> AsyncIterator[None]:
        """Keep out everybody else who would renew the tokens of *route*, on all of the node.

        Args:
            route: its name.
            patience: seconds to wait for whoever is at it.
        """
        try:
            self._make_folder()
            descriptor = os.open(self._folder / f"{route}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            deadline = asyncio.get_running_loop().time() + patience
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if asyncio.get_running_loop().time() >= deadline:
                        raise StateUnavailable(f"route {route}: another process renews its token just now") from None
                await asyncio.sleep(_LOOK_EVERY)
            yield
        finally:
            os.close(descriptor)  # nobody else has it, so the lock goes with it

    def _write(self, route: str, tokens: Tokens) -> None:
        path = self._path(route)
        nonce = os.urandom(_NONCE_BYTES)
        octets = nonce + self._cipher.encrypt(nonce, tokens.pack(), _place(route))
        fresh = path.with_suffix(".new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(descriptor)
            fresh.replace(path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unwritable(error) from None

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def _unwritable(self, error: OSError) -> StateUnavailable:
        return StateUnavailable(f"{self._folder}: cannot be written: {error.strerror}; make room, or correct its owner")

    def _path(self, route: str) -> Path:
        return self._folder / f"{route}.sealed"


def _place(route: str) -> bytes:
    return f"oauth\0{route}".encode()
