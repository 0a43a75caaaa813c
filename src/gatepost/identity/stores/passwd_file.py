"""Read passwd-files as Dovecot and Apache (htpasswd) have them: a line for each login, fields between colons.

    tim@example.org:{SSHA512}…
    ann:$2y$10$…::::::allow_nets=192.0.2.0/24 gatepost_senders=ann@example.org,*@example.net

Fields are those of passwd(5), and after them Dovecot's extra fields: ``allow_nets`` and ``nologin`` mean what they mean
there, those that begin with ``gatepost_`` are ours, all others are for other programs.  A login may have several lines
if each has its own ``gatepost_credential``; what is said of the account stands in the first.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from gatepost.errors import Malformed
from gatepost.identity.decoys import SALT_BYTES, Decoys
from gatepost.identity.hashes import WEAK, cram_md5_states, parse_hash, parse_scram
from gatepost.identity.sealing import Sealer
from gatepost.identity.store import HASH, HMAC_MD5, SCRAM_SHA_256, Account
from gatepost.identity.stores.extra_fields import ACCOUNT_FIELDS, ExtraFields
from gatepost.identity.stores.file import Contents
from gatepost.model.identity import Secret
from gatepost.sasl.prepare import prepare_name
from gatepost.sasl.scram import MINIMUM_ITERATIONS
from gatepost.state.keys import Keys

__all__ = ["PasswdFile"]

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
        self._sealer = Sealer(keys)
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
                    scheme = self.take(text, accounts, likenesses)
                    if scheme in WEAK:
                        weak.append(f"{number}: {scheme}")
            except UnicodeDecodeError:
                raise ValueError(f"{number}: is not UTF-8; save it as UTF-8") from None
            except (ValueError, Malformed) as error:
                raise ValueError(f"{number}: {error}") from None
        self.weak = weak
        return Contents(accounts, likenesses)

    def take(self, text: str, accounts: dict[str, Account], likenesses: dict[str, str]) -> str:
        """Read a line, and add what it says to the others; return the scheme of its hash, empty if it has none.

        Raises:
            ValueError: what is wrong; it never shows a hash.
        """
        fields = text.split(":", 7)
        if len(fields) < 2:
            raise ValueError("has no colon; write login:{SCHEME}hash")
        try:
            login = prepare_name(fields[0])
        except Malformed as error:
            raise ValueError(f"its login cannot be used: {error.reason}") from None
        words = fields[7].split() if len(fields) == 8 else []
        for word in words:
            name = word.partition("=")[0]
            if name in _REFUSED:
                raise ValueError(f"has the field {name}, which gatepost does not do; remove it")
        extras = ExtraFields(words)
        known = accounts.get(login)
        if known is None:
            account = extras.account(login, self._decoys.salt(login), self._iterations)
        elif extras.names & ACCOUNT_FIELDS:
            raise ValueError("the login has a line already; say what concerns the account there")
        else:
            account = known
        password = fields[1]
        scheme = ""
        is_locked = password.startswith(_LOCKED) and known is None
        if is_locked:
            account = replace(account, is_active=False, state_reason=account.state_reason or "locked in the file")
        elif password:
            account, likeness, scheme = self._add(account, password, extras)
            if likeness:
                likenesses.setdefault(login, likeness)
        elif known is not None:
            raise ValueError("the login has a line already")
        accounts[login] = account
        return scheme

    def _add(self, account: Account, password: str, extras: ExtraFields) -> tuple[Account, str, str]:
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
            record = parse_scram(SCRAM_SHA_256, found.text.reveal().decode().partition("}")[2])
            shared = record.salt, record.iterations
            is_first = not any(SCRAM_SHA_256 in each.verifiers for each in account.credentials)
            # Another length, or fewer iterations, than those of names that do not exist would tell this one from them.
            if len(record.salt) == SALT_BYTES and record.iterations >= MINIMUM_ITERATIONS:
                if not is_first and shared != (account.salt, account.iterations):
                    raise ValueError("has another salt or iteration count than the login's line before it")
                account = replace(account, salt=record.salt, iterations=record.iterations)
                scheme, verifier, likeness = SCRAM_SHA_256, Secret(str(record).encode()), ""
        identifier = self._id(account.login, label, found.text)
        verifiers = {scheme: verifier}
        states = cram_md5_states(found.text)
        if states is not None:
            verifiers[HMAC_MD5] = Secret(self._sealer.seal(identifier, HMAC_MD5, Secret(states)))
        credential = extras.credential(identifier, verifiers)
        # Those that stand come first.
        credentials = sorted((*account.credentials, credential), key=lambda each: each.revoked is not None)
        return replace(account, credentials=tuple(credentials)), likeness, found.scheme

    def _id(self, login: str, label: str, text: Secret) -> str:
        # A changed password is another credential, so that whoever is logged in with the old one is not any more.
        return hmac.digest(self._ids, f"{login}\0{label}\0".encode() + text.reveal(), "sha256")[:6].hex()
