"""Take the logins of a passwd-file or an htpasswd file over into the accounts database, line by line.

What was taken keeps its hash until the first login makes it anew (`gatepost.identity.renewal`).  The id of a credential
follows from its line, so that the same file can be imported again at any time: what is there stays as it is, also when
it was made anew, changed or revoked meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from sqlalchemy import Connection, func, insert, select, update

from gatepost.errors import Malformed
from gatepost.identity.accounts import AccountProblem
from gatepost.identity.credentials import as_stored, withdrawn_by
from gatepost.identity.database import AccountsDatabase
from gatepost.identity.hashes import WEAK, parse_hash
from gatepost.identity.kept_hash import keep
from gatepost.identity.restrictions import Restrictions, Rules, restriction_values
from gatepost.identity.schema import accounts, credentials, verifiers
from gatepost.identity.store import HASH, SCRAM_SCHEMES, SCRAM_SHA_256, Account, Credential
from gatepost.identity.stores.passwd_file import PasswdFile
from gatepost.model.identity import Secret, parse_sender_pattern
from gatepost.sasl.prepare import prepare_name
from gatepost.state.keys import Keys

__all__ = ["Format", "Line", "import_logins"]

Format = Literal["passwd-file", "htpasswd"]

_BATCH: Final = 200
_CREDENTIAL_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class Line:
    """What became of a line."""

    number: int
    login: str
    outcome: Literal["taken", "unchanged", "skipped"]
    scheme: str = ""
    reason: str = ""

    @property
    def is_weak(self) -> bool:
        """Whether what was taken is soon guessed once it is stolen."""
        return self.scheme in WEAK


@dataclass(frozen=True, slots=True)
class _Login:
    """What a line says."""

    number: int
    account: Account
    scheme: str
    password: str
    likeness: str

    @property
    def credential(self) -> Credential | None:
        return next(iter(self.account.credentials), None)


class _Skipped(Exception):
    """Why a line is not taken."""


def import_logins(
    database: AccountsDatabase | None,
    keys: Keys,
    rules: Rules,
    octets: bytes,
    *,
    format: Format,  # noqa: A002 - as the option is called
    now: float,
    iterations: int,
    domain: str = "",
    force: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    objection: Callable[[str], None] = lambda _: None,
) -> list[Line]:
    """Import a file; return what became of each of its lines.

    Args:
        database: where to; None, for a dry run, if it is not there yet.
        keys: of the node.
        rules: what the server is set to.
        octets: the file.
        format: of the file.
        now: seconds since the epoch.
        iterations: SCRAM iteration count of new accounts.
        domain: where logins are at home that are no addresses, so that they may write as somebody.
        force: whether to import even if that withdraws a mechanism from a listener.
        dry_run: whether to change nothing.
        progress: hears how many lines more are done.
        objection: hears, in a dry run, why it would not be imported.

    Raises:
        AccountProblem: it would withdraw a mechanism.
        StoreUnavailable: the database cannot be read or written.
    """
    work = _Import(keys, rules, format, now, iterations, domain)
    if database is None:
        planned = list(work.run(None, octets, progress))
    else:
        with database.reading() as connection:
            planned = list(work.run(connection, octets, progress if dry_run else lambda _: None))
    problem = "" if force else work.problem(database)
    if dry_run or database is None:
        if problem:
            objection(problem)
        return planned
    if problem:
        raise AccountProblem(problem)
    work.begin()
    done: list[Line] = []
    numbered = enumerate(octets.split(b"\n"), 1)
    while batch := list(islice(numbered, _BATCH)):
        with database.writing() as connection:
            done += work.lines(connection, batch, writes=True)
        progress(len(batch))
    return done


class _Import:
    """One import.

    Attributes:
        kinds: listeners and verifiers of what is taken, each combination once, and the first line that has it.
    """

    def __init__(self, keys: Keys, rules: Rules, format_: Format, now: float, iterations: int, domain: str) -> None:
        self._read = PasswdFile(keys, iterations)
        self._rules = rules
        self._format = format_
        self._now = now
        self._domain = domain
        self._seen: dict[str, int] = {}
        self.kinds: dict[tuple[tuple[str, ...], frozenset[str]], str] = {}

    def begin(self) -> None:
        """Begin with the first line."""
        self._seen.clear()

    def problem(self, database: AccountsDatabase | None) -> str:
        """Return which mechanisms it would withdraw, and by which line; empty if by none."""
        culprits: dict[str, str] = {}
        for (listeners, schemes), line in self.kinds.items():
            for each in withdrawn_by(database, self._rules, listeners, schemes, self._now):
                culprits.setdefault(each, line)
        if not culprits:
            return ""
        named = ", ".join([f"{each} ({line})" for each, line in culprits.items()])
        return (
            f"what is imported would have no verifier for {named}, so that it could be offered to nobody there "
            "any more until all have logged in once; --force imports it all the same"
        )

    def run(self, connection: Connection | None, octets: bytes, progress: Callable[[int], None]) -> Iterator[Line]:
        """Say what would become of each line."""
        for number, line in enumerate(octets.split(b"\n"), 1):
            yield from self.lines(connection, [(number, line)], writes=False)
            progress(1)

    def lines(self, connection: Connection | None, batch: list[tuple[int, bytes]], *, writes: bool) -> Iterator[Line]:
        """Say what becomes of some lines, and see to it if it *writes*."""
        for number, octets in batch:
            text = octets.removesuffix(b"\r")
            if not text.strip() or text.startswith(b"#"):
                continue
            name = ""
            try:
                name = text.decode().partition(":")[0]
                found = self._line(number, text.decode())
                name = found.account.login
                yield self._take(connection, found, writes=writes)
            except UnicodeDecodeError:
                yield Line(number, "", "skipped", reason="is not UTF-8")
            except (_Skipped, AccountProblem) as error:
                yield Line(number, name, "skipped", reason=str(error))
            except Malformed as error:
                yield Line(number, name, "skipped", reason=error.reason)
            except ValueError as error:
                yield Line(number, name, "skipped", reason=str(error))

    def _line(self, number: int, text: str) -> _Login:
        fields = text.split(":", 7)
        if self._format == "htpasswd" and len(fields) != 2:
            raise _Skipped("is no line of htpasswd: login:hash")
        one: dict[str, Account] = {}
        likenesses: dict[str, str] = {}
        scheme = self._read.take(text, one, likenesses)
        login = prepare_name(fields[0])
        first = self._seen.setdefault(login, number)
        if first != number:
            raise _Skipped(f"the login stands in line {first} already; an account has one chosen secret at most")
        if scheme == "DES-CRYPT":
            # The first login would be taken for the whole password, whatever stands behind the eighth character.
            raise _Skipped("is a DES-CRYPT hash, which looks at eight characters only; a new password must be chosen")
        return _Login(number, one[login], scheme, fields[1], likenesses.get(login, ""))

    def _take(self, connection: Connection | None, found: _Login, *, writes: bool) -> Line:
        account, credential = found.account, found.credential
        if credential is None and account.is_active:
            raise _Skipped("has no password")
        if credential is not None and credential.revoked is not None:
            raise _Skipped("was revoked in the file")
        values = restriction_values(_restrictions(credential or Credential("")), self._rules, self._now)
        row = _account_row(connection, account.login) if connection is not None else None
        if connection is not None and row is not None:
            unchanged = _present(connection, row, found, self._now)
            if unchanged is not None:
                return unchanged
        held = {} if credential is None else dict(credential.verifiers)
        salt, iterations = account.salt, account.iterations
        if row is not None and (row.salt, row.iterations) != (salt, iterations):
            if SCRAM_SHA_256 in held and connection is not None and _has_records(connection, row.id):
                parsed = parse_hash(found.password)
                held = {HASH: keep(parsed.text, parsed.likeness)}
            elif SCRAM_SHA_256 not in held:
                salt, iterations = row.salt, row.iterations
        if HASH in held and found.likeness:
            held[HASH] = keep(held[HASH], found.likeness)
        if credential is not None:
            kind = tuple(values["listeners"]), frozenset(held)
            self.kinds.setdefault(kind, f"{account.login} in line {found.number}")
        if writes and connection is not None:
            number = self._account(connection, row, account, salt, iterations)
            if credential is not None:
                self._credential(connection, number, credential, values, held)
        return Line(
            found.number, account.login, "taken", found.scheme, "" if credential else "disabled, as in the file"
        )

    def _account(self, connection: Connection, row: Any, account: Account, salt: bytes, iterations: int) -> int:
        if row is not None:
            changed = update(accounts).where(accounts.c.id == row.id).values(salt=salt, iterations=iterations)
            connection.execute(changed)
            return int(row.id)
        senders = list(map(str, account.senders))
        if not senders and self._domain and "@" not in account.login:
            senders = [str(parse_sender_pattern(f"{account.login}@{self._domain}"))]
        added = insert(accounts).values(
            login=account.login,
            state="active" if account.is_active else "disabled",
            state_reason=account.state_reason,
            senders=json.dumps(senders),
            max_message_bytes=account.max_message_bytes,
            max_recipients=account.max_recipients,
            null_sender=account.null_sender,
            salt=salt,
            iterations=iterations,
            created=self._now,
            contact="",
        )
        key = connection.execute(added).inserted_primary_key
        assert key is not None
        return int(key[0])

    def _credential(
        self,
        connection: Connection,
        account: int,
        credential: Credential,
        values: dict[str, Any],
        held: dict[str, Secret],
    ) -> None:
        row = {"id": credential.id, "account_id": account, "created": self._now, "revoked": None, "origin": "chosen"}
        row |= {"label": credential.label, "is_canary": False}
        connection.execute(insert(credentials).values(**row, **as_stored(values)))
        for scheme, verifier in held.items():
            kept = {"credential_id": credential.id, "scheme": scheme, "value": verifier.reveal()}
            connection.execute(insert(verifiers).values(**kept))


def _account_row(connection: Connection, login: str) -> Any:
    return connection.execute(select(accounts).where(accounts.c.login == login)).one_or_none()


def _present(connection: Connection, row: Any, found: _Login, now: float) -> Line | None:
    """Say what becomes of a line whose account is there; None if its credential can be added."""
    credential, login = found.credential, found.account.login
    if not found.account.is_active and row.state != "disabled":
        raise _Skipped(f"is disabled in the file, and not here; see: gatepost account disable {login}")
    if credential is None:
        return Line(found.number, login, "unchanged", reason="disabled already")
    others = connection.execute(select(credentials).where(credentials.c.account_id == row.id)).all()
    for each in others:
        if each.id == credential.id:
            if each.revoked is not None:
                raise _Skipped("was imported before, and revoked")
            return Line(found.number, login, "unchanged", found.scheme, "imported already")
    standing = [each for each in others if each.revoked is None]
    for each in standing:
        if each.origin == "chosen" and (each.expires is None or now < each.expires):
            raise _Skipped(f"the account has a chosen secret already; see: gatepost credential show {each.id}")
    if len(standing) >= _CREDENTIAL_LIMIT:
        raise _Skipped(f"the account has {len(standing)} credentials; revoke some first")
    return None


def _has_records(connection: Connection, account: int) -> bool:
    joined = verifiers.join(credentials, credentials.c.id == verifiers.c.credential_id)
    records = (
        select(func.count())
        .select_from(joined)
        .where(credentials.c.account_id == account, verifiers.c.scheme.in_(SCRAM_SCHEMES))
    )
    return bool(connection.execute(records).scalar_one())


def _restrictions(credential: Credential) -> Restrictions:
    return Restrictions(
        mechanisms=sorted(credential.mechanisms),
        listeners=sorted(credential.listeners),
        networks=list(map(str, credential.networks)),
        senders=list(map(str, credential.senders)),
        recipients=list(map(str, credential.recipients)),
        messages_per_minute=credential.messages_per_minute,
        not_before=credential.not_before,
        expires=credential.expires,
        sandbox=credential.sandbox,
    )
