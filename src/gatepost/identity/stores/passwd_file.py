"""Read passwd-files as Dovecot and Apache (htpasswd) have them: a line for each login, fields between colons.

    tim@example.org:{SSHA512}…
    ann:$2y$10$…::::::allow_nets=192.0.2.0/24 gatepost_senders=ann@example.org,*@example.net

Fields are those of passwd(5), and after them Dovecot's extra fields: ``allow_nets`` and ``nologin`` mean what they mean
there, those that begin with ``gatepost_`` are ours, all others are for other programs.  A login may have several lines
if each has its own ``gatepost_credential``; what is said of the account stands in the first.
"""

from __future__ import annotations

import datetime as dt
import hmac
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeVar
from urllib.parse import unquote

from gatepost.errors import Malformed
from gatepost.identity.decoys import SALT_BYTES, Decoys
from gatepost.identity.hashes import WEAK, parse_hash
from gatepost.identity.store import HASH, SCRAM_SHA_256, Account, Credential
from gatepost.identity.stores.file import Contents
from gatepost.model.identity import Secret, SenderPattern, parse_sender_pattern
from gatepost.sasl.prepare import prepare_name
from gatepost.sasl.scram import MINIMUM_ITERATIONS, parse_record
from gatepost.state.keys import Keys

__all__ = ["PasswdFile"]

T = TypeVar("T")

_ACCOUNT_FIELDS: Final = frozenset(
    {"senders", "disabled", "max_message_bytes", "max_recipients", "null_sender"},
)
_CREDENTIAL_FIELDS: Final = frozenset(
    {"recipients", "messages_per_minute", "not_before"}
    | {"credential", "mechanisms", "listeners", "only_senders", "expires", "revoked", "sandbox"}
)
# They would loosen or tighten something in a way that is not ours; to pass over them could let somebody in.
_REFUSED: Final = frozenset({"nopassword", "allow_real_nets"})
_LOCKED: Final = ("!", "*")


class PasswdFile:
    """Makes accounts of passwd-files.

    Args:
        keys: of the node: for salts that nobody is shown, and ids of credentials.
        iterations: SCRAM iteration count of accounts that have no record.
    """

    def __init__(self, keys: Keys, iterations: int) -> None:
        self._decoys = Decoys(keys)
        self._ids = keys.derive("credential ids")
        self._iterations = iterations
        self.weak: list[str] = []
        """Of the file that was read last: places of hashes that are weak, as ``line: scheme``."""

    def __call__(self, octets: bytes) -> Contents:
        """Read a file.

        Raises:
            ValueError: with ``line: what is wrong, what to do``; it never shows a hash.
        """
        accounts: dict[str, Account] = {}
        likenesses: dict[str, str] = {}
        weak: list[str] = []
        for number, line in enumerate(octets.split(b"\n"), 1):
            try:
                text = line.removesuffix(b"\r").decode()
                if text.strip() and not text.startswith("#"):
                    self._line(text, accounts, likenesses, weak, number)
            except UnicodeDecodeError:
                raise ValueError(f"{number}: is not UTF-8; save it as UTF-8") from None
            except (ValueError, Malformed) as error:
                raise ValueError(f"{number}: {error}") from None
        self.weak = weak
        return Contents(accounts, likenesses)

    def _line(
        self, text: str, accounts: dict[str, Account], likenesses: dict[str, str], weak: list[str], number: int
    ) -> None:
        fields = text.split(":", 7)
        if len(fields) < 2:
            raise ValueError("has no colon; write login:{SCHEME}hash")
        try:
            login = prepare_name(fields[0])
        except Malformed as error:
            raise ValueError(f"its login cannot be used: {error.reason}") from None
        extras = _Extras(fields[7] if len(fields) == 8 else "")
        known = accounts.get(login)
        if known is None:
            account = self._account(login, extras)
        elif extras.names & _ACCOUNT_FIELDS:
            raise ValueError("the login has a line already; say what concerns the account there")
        else:
            account = known
        password = fields[1]
        is_locked = password.startswith(_LOCKED) and known is None
        if is_locked:
            account = replace(account, is_active=False, state_reason=account.state_reason or "locked in the file")
        elif password:
            account, likeness, scheme = self._add(account, password, extras)
            if likeness:
                likenesses.setdefault(login, likeness)
            if scheme in WEAK:
                weak.append(f"{number}: {scheme}")
        elif known is not None:
            raise ValueError("the login has a line already")
        accounts[login] = account

    def _account(self, login: str, extras: _Extras) -> Account:
        senders = extras.senders("senders")
        if senders is None:
            try:
                senders = (parse_sender_pattern(login),) if "@" in login else ()
            except Malformed:
                senders = ()
        reason = extras.text("disabled")
        is_active = reason is None and not extras.is_without_login
        return Account(
            login,
            self._decoys.salt(login),
            self._iterations,
            is_active=is_active,
            state_reason=(reason or "") if not extras.is_without_login else "nologin",
            senders=senders,
            max_message_bytes=extras.number("max_message_bytes"),
            max_recipients=extras.number("max_recipients"),
            null_sender=extras.flag("null_sender"),
        )

    def _add(self, account: Account, password: str, extras: _Extras) -> tuple[Account, str, str]:
        """Add the credential of a line; return the likeness of its hash, if nothing better is kept, and its scheme."""
        label = extras.text("credential") or ""
        if any(each.label == label for each in account.credentials):
            raise ValueError("the login has such a line already; remove one, or give each its own gatepost_credential")
        try:
            found = parse_hash(password)
        except ValueError as error:
            raise ValueError(f"its password {error}") from None
        scheme, verifier, likeness = HASH, found.text, found.likeness
        if found.scheme == SCRAM_SHA_256:
            record = parse_record(found.text.reveal().decode().partition("}")[2])
            shared = record.salt, record.iterations
            is_first = not any(SCRAM_SHA_256 in each.verifiers for each in account.credentials)
            # Another length, or fewer iterations, than those of names that do not exist would tell this one from them.
            if len(record.salt) == SALT_BYTES and record.iterations >= MINIMUM_ITERATIONS:
                if not is_first and shared != (account.salt, account.iterations):
                    raise ValueError("has another salt or iteration count than the login's line before it")
                account = replace(account, salt=record.salt, iterations=record.iterations)
                scheme, verifier, likeness = SCRAM_SHA_256, Secret(str(record).encode()), ""
        credential = Credential(
            self._id(account.login, label, found.text),
            label,
            {scheme: verifier},
            mechanisms=extras.words("mechanisms"),
            listeners=extras.words("listeners"),
            networks=extras.networks(),
            senders=extras.senders("only_senders") or (),
            recipients=extras.senders("recipients") or (),
            messages_per_minute=extras.number("messages_per_minute"),
            not_before=extras.moment("not_before"),
            expires=extras.moment("expires"),
            revoked=extras.moment("revoked"),
            sandbox=bool(extras.flag("sandbox")),
        )
        # Those that stand come first.
        credentials = sorted((*account.credentials, credential), key=lambda each: each.revoked is not None)
        return replace(account, credentials=tuple(credentials)), likeness, found.scheme

    def _id(self, login: str, label: str, text: Secret) -> str:
        # A changed password is another credential, so that whoever is logged in with the old one is not any more.
        return hmac.digest(self._ids, f"{login}\0{label}\0".encode() + text.reveal(), "sha256")[:6].hex()


class _Extras:
    """The extra fields of a line."""

    def __init__(self, text: str) -> None:
        ours: dict[str, str] = {}
        self._networks = ""
        self.is_without_login = False
        for name, value in _pairs(text):
            if name in _REFUSED:
                raise ValueError(f"has the field {name}, which gatepost does not do; remove it")
            if name == "allow_nets":
                self._networks = value
                if not value:
                    raise ValueError("has an empty allow_nets; write networks, or remove it")
            elif name == "nologin":
                self.is_without_login = True
            elif name.startswith("gatepost_"):
                key = name.removeprefix("gatepost_")
                if key not in _ACCOUNT_FIELDS | _CREDENTIAL_FIELDS:
                    raise ValueError(f"has the field gatepost_{ascii(key)[1:-1][:30]}, which is none of gatepost's")
                if key in ours:
                    raise ValueError(f"has the field {name} twice")
                ours[key] = unquote(value)
        self._ours: Mapping[str, str] = ours

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._ours)

    def text(self, name: str) -> str | None:
        return self._ours.get(name)

    def words(self, name: str) -> frozenset[str]:
        return frozenset(each for each in self._ours.get(name, "").split(",") if each)

    def number(self, name: str) -> int | None:
        return self._read(name, _whole, "a whole number above 0")

    def flag(self, name: str) -> bool | None:
        return self._read(name, lambda text: {"": True, "yes": True, "no": False}[text], "yes or no")

    def moment(self, name: str) -> float | None:
        return self._read(name, _moment, "a time in UTC such as 2027-12-31T12:00:00")

    def senders(self, name: str) -> tuple[SenderPattern, ...] | None:
        return self._read(name, _senders, "addresses, *@domain or *, between commas")

    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        try:
            return tuple(ipaddress.ip_network(each) for each in self._networks.split(",") if each)
        except ValueError:
            raise ValueError("has something else than networks in allow_nets; write such as 192.0.2.0/24") from None

    def _read(self, name: str, read: Callable[[str], T], what: str) -> T | None:
        value = self._ours.get(name)
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, KeyError, OverflowError):
            raise ValueError(f"has no proper gatepost_{name}; write {what}") from None


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for word in text.split():
        name, _, value = word.partition("=")
        yield name, value


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 1 << 62:
        raise ValueError(text)
    return int(text)


def _moment(text: str) -> float:
    moment = dt.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _senders(text: str) -> tuple[SenderPattern, ...]:
    return tuple(parse_sender_pattern(each) for each in text.split(",") if each)
