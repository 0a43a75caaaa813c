"""The authority on a real database: every mechanism, every kind of no, decoys, and what changes while it runs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatepost.errors import Malformed, Misuse, StoreUnavailable
from gatepost.identity import passwords, secret
from gatepost.identity.accounts import remove_account, set_state
from gatepost.identity.authority import Authority, LoginAttempt
from gatepost.identity.credentials import revoke_credential
from gatepost.identity.passwords import HashingPool
from gatepost.identity.stand_ins import TOKEN_CREDENTIAL
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.identity.tokens import TokenInvalid, TokenSubject
from gatepost.model.identity import Identity, Secret, Standing
from gatepost.model.peer import Peer
from gatepost.sasl.mechanism import Context
from gatepost.sasl.registry import MECHANISMS
from gatepost.sasl.scram import parse_record
from gatepost.sasl.steps import Denied, Granted, Held, Outcome, TokenProblem, TokenRefused
from gatepost.session.auth import Attempt, drive
from gatepost.state.keys import Keys
from identities import PEER, Book

_NONCES = iter(range(10**9))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path)
    made.account("tim@example.org")
    yield made
    made.store.close()


class Mail:
    """A client that talks a mechanism by hand, with the login and secret it was given."""

    def __init__(self, mechanism: str, login: str, password: bytes, authzid: str = "") -> None:
        self.mechanism, self.login, self.password, self.authzid = mechanism, login, password, authzid
        self.steps: list[bytes] = []

    def initial(self) -> bytes | None:
        match self.mechanism:
            case "PLAIN":
                return b"\0".join((self.authzid.encode(), self.login.encode(), self.password))
            case "LOGIN" | "CRAM-MD5":
                return None
            case "OAUTHBEARER":
                return f"n,a={self.login},\x01auth=Bearer ".encode() + self.password + b"\x01\x01"
            case "XOAUTH2":
                return f"user={self.login}\x01auth=Bearer ".encode() + self.password + b"\x01\x01"
        header = f"n,{'a=' + self.authzid if self.authzid else ''},"
        self._header, self._bare = header, f"n={self.login},r=clientnonce"
        return (header + self._bare).encode()

    async def respond(self, challenge: bytes, *, is_refusal: bool = False) -> bytes:
        self.steps.append(challenge)
        match self.mechanism:
            case "LOGIN":
                return self.login.encode() if challenge == b"Username:" else self.password
            case "CRAM-MD5":
                digest = hmac.new(self.password, challenge, "md5").hexdigest()
                return f"{self.login} {digest}".encode()
            case "OAUTHBEARER":
                return b"\x01"
            case "XOAUTH2":
                return b""
        if challenge.startswith(b"v="):
            return b""
        values = dict(each.split("=", 1) for each in challenge.decode().split(","))
        name = self.mechanism.removeprefix("SCRAM-").replace("-", "")
        salted = hashlib.pbkdf2_hmac(name, self.password, base64.b64decode(values["s"]), int(values["i"]))
        key = hmac.digest(salted, b"Client Key", name)
        covered = f"c={base64.b64encode(self._header.encode()).decode()},r={values['r']}"
        said = f"{self._bare},{challenge.decode()},{covered}".encode()
        signature = hmac.digest(hashlib.new(name, key).digest(), said, name)
        proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        return f"{covered},p={base64.b64encode(proof).decode()}".encode()


async def _log_in(
    authority: Authority, mechanism: str, login: str, password: bytes, *, authzid: str = "", peer: Peer = PEER
) -> tuple[Identity | None, str, LoginAttempt, Mail]:
    attempt = authority.begin(peer, mechanism)
    client = Mail(mechanism, login, password, authzid)
    context = Context("mail.example.org", lambda: f"nonce{next(_NONCES)}")
    outcome: Outcome = await drive(MECHANISMS[mechanism].start(client.initial(), context), client, attempt)
    if isinstance(outcome, Denied):
        return None, attempt.reason or attempt.doomed or outcome.reason, attempt, client
    assert isinstance(outcome, Granted)
    identity = await attempt.admit(outcome.identity, outcome.authzid)
    return identity, attempt.reason, attempt, client


def _typed(attempt: LoginAttempt) -> Attempt:
    return attempt  # mypy, and the reader, see that it fits


_PROOFS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-512", "CRAM-MD5")


@pytest.mark.parametrize("mechanism", _PROOFS)
async def test_all_credentials_of_an_account_work_with_every_mechanism(book: Book, mechanism: str) -> None:
    rows = [book.credential("tim@example.org", label=label) for label in ("laptop", "phone")]
    rows.append(book.credential("tim@example.org", label="mine", chosen="correct horse battery"))
    authority = book.authority()
    for row, password in rows:
        for login in ("tim@example.org", "Tim@Example.ORG"):
            identity, reason, _, _ = await _log_in(authority, mechanism, login, password.reveal())
            assert identity is not None, reason
            assert (identity.account, identity.credential, identity.label) == ("tim@example.org", row.id, row.label)
    authority.close()


@pytest.mark.parametrize("mechanism", _PROOFS)
async def test_during_a_rotation_both_work_and_revoking_one_leaves_the_other(book: Book, mechanism: str) -> None:
    (old, old_secret), (new, new_secret) = (book.credential("tim@example.org", label=each) for each in ("old", "new"))
    authority = book.authority()
    for row, password in ((old, old_secret), (new, new_secret), (old, old_secret)):
        identity, _, _, _ = await _log_in(authority, mechanism, "tim@example.org", password.reveal())
        assert identity is not None
        assert identity.credential == row.id
    revoke_credential(book.database, old.id, now=book.clock.now())
    identity, reason, attempt, _ = await _log_in(authority, mechanism, "tim@example.org", old_secret.reveal())
    assert (identity, reason) == (None, "credential revoked")
    assert attempt.identity is not None
    assert attempt.identity.label == "old"
    identity, _, _, _ = await _log_in(authority, mechanism, "tim@example.org", new_secret.reveal())
    assert identity is not None
    authority.close()


_REFUSALS: dict[str, Callable[[Book], str]] = {
    "unknown login": lambda book: "nobody@example.org",
    "wrong secret|wrong proof or unknown name|wrong digest or unknown name": lambda book: "tim@example.org",
    "account disabled: left us": lambda book: _disable(book),
    "credential revoked": lambda book: _only(book, revoke=True),
    "credential expired": lambda book: _expire(book),
    "credential not for listener submission": lambda book: _only(book, listeners=["devices"]),
    "credential not for network of 192.0.2.7": lambda book: _only(book, networks=["198.51.100.0/24"]),
}


def _disable(book: Book) -> str:
    login = _only(book)
    set_state(book.database, login, active=False, reason="left us")
    return login


def _expire(book: Book) -> str:
    login = _only(book, expires=book.clock.time + 60)
    book.clock.time += 60
    return login


_SECRET = "correct horse battery"


def _only(book: Book, *, revoke: bool = False, **only: object) -> str:
    book.account("ann@example.org")
    row, _ = book.credential("ann@example.org", chosen=_SECRET, **only)
    if revoke:
        revoke_credential(book.database, row.id, now=book.clock.now())
    return "ann@example.org"


@pytest.mark.rfc("4954 §4")
@pytest.mark.parametrize("mechanism", _PROOFS)
@pytest.mark.parametrize("reason", _REFUSALS)
async def test_every_kind_of_no_is_a_no_in_as_many_steps_with_its_own_reason(
    book: Book, mechanism: str, reason: str
) -> None:
    book.credential("tim@example.org")
    login = _REFUSALS[reason](book)
    authority = book.authority()
    identity, told, _, client = await _log_in(authority, mechanism, login, _SECRET.encode())
    assert identity is None
    assert re.fullmatch(reason, told)
    assert len(client.steps) == {"PLAIN": 0, "LOGIN": 2}.get(mechanism, 1)
    authority.close()


async def test_a_credential_is_refused_with_a_mechanism_it_is_not_for(book: Book) -> None:
    _, password = book.credential("tim@example.org", mechanisms=["PLAIN"], force=True)
    authority = book.authority()
    identity, reason, _, _ = await _log_in(authority, "LOGIN", "tim@example.org", password.reveal())
    assert (identity, reason) == (None, "credential not for mechanism LOGIN")
    identity, reason, _, _ = await _log_in(authority, "SCRAM-SHA-256", "tim@example.org", password.reveal())
    assert (identity, reason) == (None, "credential not for mechanism SCRAM-SHA-256")
    identity, reason, _, _ = await _log_in(authority, "CRAM-MD5", "tim@example.org", password.reveal())
    assert (identity, reason) == (None, "no credential with a verifier for CRAM-MD5")
    identity, _, _, _ = await _log_in(authority, "PLAIN", "tim@example.org", password.reveal())
    assert identity is not None
    authority.close()


@pytest.mark.rfc("4616 §2")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_nobody_acts_as_somebody_else(book: Book, mechanism: str) -> None:
    book.account("ann@example.org")
    _, password = book.credential("tim@example.org")
    authority = book.authority()
    for authzid, granted in (
        ("", True),
        ("tim@example.org", True),
        ("TIM@example.org", True),
        ("ann@example.org", False),
        ("nobody", False),
    ):
        found = await _log_in(authority, mechanism, "tim@example.org", password.reveal(), authzid=authzid)
        assert (found[0] is not None) is granted
        assert found[1] == ("" if granted else "may not act as another login")
    attempt = authority.begin(PEER, mechanism)
    account = await authority.find("tim@example.org")
    assert account is not None
    assert await attempt.admit(account.identity(account.credentials[0]), "bad\0name") is None
    authority.close()


async def test_a_remembered_password_is_still_admitted_or_not(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    row, password = book.credential("tim@example.org", networks=["192.0.2.0/24"])
    authority = book.authority()
    identity, _, _, _ = await _log_in(authority, "PLAIN", "tim@example.org", password.reveal())
    assert identity is not None
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "matching", lambda *_: pytest.fail("hashed again"))
        identity, _, _, _ = await _log_in(authority, "PLAIN", "tim@example.org", password.reveal())
        assert identity is not None
    # A no is hashed like any other (test_equal_work).
    elsewhere = Peer("198.51.100.1", 1, "submission")
    identity, reason, _, _ = await _log_in(authority, "PLAIN", "tim@example.org", password.reveal(), peer=elsewhere)
    assert (identity, reason) == (None, "credential not for network of 198.51.100.1")
    revoke_credential(book.database, row.id, now=book.clock.now())
    identity, reason, _, _ = await _log_in(authority, "PLAIN", "tim@example.org", password.reveal())
    assert (identity, reason) == (None, "credential revoked")
    authority.close()


async def test_what_is_revoked_during_the_exchange_does_not_get_in(book: Book) -> None:
    row, password = book.credential("tim@example.org")
    authority = book.authority()
    attempt = authority.begin(PEER, "PLAIN")
    identity = await attempt.check_password("tim@example.org", password)
    assert identity is not None
    revoke_credential(book.database, row.id, now=book.clock.now())
    assert await attempt.admit(identity, "") is None
    assert attempt.reason == "credential revoked"
    remove_account(book.database, "tim@example.org")
    assert await attempt.admit(identity, "") is None
    assert attempt.reason == "account removed"
    book.account("tim@example.org")
    assert await attempt.admit(identity, "") is None
    assert attempt.reason == "credential removed"
    authority.close()


async def test_a_secret_that_was_revoked_and_given_anew_works_with_every_mechanism(book: Book) -> None:
    old, _ = book.credential("tim@example.org", chosen=_SECRET)
    authority = book.authority()
    identity, _, _, _ = await _log_in(authority, "PLAIN", "tim@example.org", _SECRET.encode())
    assert identity is not None
    revoke_credential(book.database, old.id, now=book.clock.now())
    new, _ = book.credential("tim@example.org", chosen=_SECRET)
    for mechanism in _PROOFS:
        identity, reason, _, _ = await _log_in(authority, mechanism, "tim@example.org", _SECRET.encode())
        assert identity is not None, (mechanism, reason)
        assert identity.credential == new.id
    authority.close()


async def _first(authority: Authority, login: str) -> Held:
    return await authority.begin(PEER, "SCRAM-SHA-256").fetch_secret(login, "SCRAM-SHA-256")


async def test_decoys_are_stable_across_restarts_and_change_with_the_key(book: Book) -> None:
    authority, again = book.authority(), book.authority(stores=[SqliteStore(book.path)])
    other = book.authority(keys=Keys(Secret(bytes(32))), stores=[SqliteStore(book.path)])
    held = await _first(authority, "nobody")
    assert held == await _first(authority, "NOBODY") == await _first(again, "nobody")
    assert held != await _first(other, "nobody")
    assert [each.identity for each in held.candidates] == [None]
    for each in (authority, again, other):
        each.close()


async def test_an_account_comes_and_goes_without_a_change_of_salt(book: Book) -> None:
    authority = book.authority()

    async def shown() -> tuple[bytes, int]:
        record = parse_record((await _first(authority, "ann")).candidates[0].verifier.reveal().decode())
        return record.salt, record.iterations

    before = await shown()
    book.account("ann")
    assert await shown() == before
    book.credential("ann")
    assert await shown() == before
    remove_account(book.database, "ann")
    assert await shown() == before
    authority.close()


async def test_unknown_names_take_their_count_from_real_accounts(book: Book) -> None:
    authority = book.authority(iterations=20_000)
    await authority.refresh()
    record = parse_record((await _first(authority, "nobody")).candidates[0].verifier.reveal().decode())
    assert record.iterations == book.iterations
    remove_account(book.database, "tim@example.org")
    await authority.refresh()
    record = parse_record((await _first(authority, "nobody")).candidates[0].verifier.reveal().decode())
    assert record.iterations == 20_000
    authority.close()


async def test_an_unknown_name_is_hashed_like_a_known_one(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    book.credential("tim@example.org")
    book.account("empty@example.org")
    seen: list[tuple[int, int]] = []
    real = passwords.matching

    def watching(check: object, password: Secret) -> int | None:
        seen.append((len(check.scram), len(check.argon2id)))  # type: ignore[attr-defined]
        return real(check, password)  # type: ignore[arg-type]

    monkeypatch.setattr(passwords, "matching", watching)
    authority = book.authority()
    await authority.refresh()
    for login in ("tim@example.org", "empty@example.org", "nobody@example.org"):
        identity, _, _, _ = await _log_in(authority, "PLAIN", login, b"wrong")
        assert identity is None
    assert seen == [(1, 0)] * 3
    authority.close()


async def test_where_everybody_has_a_chosen_secret_decoys_take_argon2id(tmp_path: Path) -> None:
    book = Book(tmp_path, mechanisms=("PLAIN", "LOGIN"))
    for login in ("tim", "ann"):
        book.account(login)
        book.credential(login, chosen=_SECRET)
    authority = book.authority()
    await authority.refresh()
    account = authority.decoy_account("nobody")
    (decoy,) = authority.pad(account).credentials
    assert set(decoy.verifiers) == {"ARGON2ID"}
    identity, reason, _, _ = await _log_in(authority, "PLAIN", "nobody", _SECRET.encode())
    assert (identity, reason) == (None, "unknown login")
    authority.close()


async def test_a_mistyped_secret_is_told_in_the_log(book: Book) -> None:
    _, password = book.credential("tim@example.org")
    text = password.reveal()
    wrong = text[:-1] + (b"a" if text[-1:] != b"a" else b"b")
    assert secret.is_mistyped(Secret(wrong))
    authority = book.authority()
    _, reason, _, _ = await _log_in(authority, "PLAIN", "tim@example.org", wrong)
    assert reason == "wrong secret, mistyped by its check digit"
    authority.close()


async def test_a_full_pool_is_a_trouble_of_ours_and_not_a_no(book: Book) -> None:
    _, password = book.credential("tim@example.org")

    class Full(HashingPool):
        async def run(self, work: object, is_vain: object = None) -> object:  # type: ignore[override]
            raise StoreUnavailable("too many logins wait")

    authority = book.authority(pool=Full(1))
    attempt = authority.begin(PEER, "PLAIN")
    for login in ("tim@example.org", "nobody"):
        with pytest.raises(StoreUnavailable):
            await attempt.check_password(login, password)
    authority.close()


@pytest.mark.parametrize("mechanism", _PROOFS)
async def test_a_store_that_is_away_is_no_no(tmp_path: Path, mechanism: str) -> None:
    book = Book(tmp_path)
    book.account("tim@example.org")
    _, password = book.credential("tim@example.org")
    authority = book.authority()
    assert (await _log_in(authority, mechanism, "tim@example.org", password.reveal()))[0] is not None
    book.path.rename(tmp_path / "elsewhere.db")
    await authority.refresh()
    with pytest.raises(StoreUnavailable):
        await _log_in(authority, mechanism, "tim@example.org", password.reveal())
    (tmp_path / "elsewhere.db").rename(book.path)
    await authority.refresh()
    assert (await _log_in(authority, mechanism, "tim@example.org", password.reveal()))[0] is not None
    authority.close()


async def test_a_wrong_key_file_is_no_no(book: Book) -> None:
    _, password = book.credential("tim@example.org")
    authority = book.authority(keys=Keys(Secret(bytes(32))))
    with pytest.raises(StoreUnavailable, match="secret_key_file"):
        await _log_in(authority, "CRAM-MD5", "tim@example.org", password.reveal())
    assert (await _log_in(authority, "PLAIN", "tim@example.org", password.reveal()))[0] is not None
    authority.close()


async def test_stores_are_asked_in_order_and_the_first_that_knows_speaks(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = Book(tmp_path / "one"), Book(tmp_path / "two")
    one.account("tim")
    two.account("tim")
    two.account("ann")
    _, here = one.credential("tim")
    _, hidden = two.credential("tim")
    _, there = two.credential("ann")
    authority = one.authority(stores=[one.store, two.store])
    assert (await _log_in(authority, "PLAIN", "tim", here.reveal()))[0] is not None
    assert (await _log_in(authority, "PLAIN", "tim", hidden.reveal()))[1].startswith("wrong secret")
    assert (await _log_in(authority, "PLAIN", "ann", there.reveal()))[0] is not None
    authority.close()


async def test_what_is_offered_follows_the_database(book: Book) -> None:
    authority = book.authority()
    await authority.refresh()

    def names(listener: str = "submission") -> list[str]:
        return [each.name for each in authority.offered(listener)]

    assert names() == ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"]
    row, _ = book.credential("tim@example.org", mechanisms=["PLAIN"], force=True)
    await authority.refresh()
    # A generated secret always has the record of SHA-256, which serves PLAIN.
    assert names() == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
    revoke_credential(book.database, row.id, now=book.clock.now())
    await authority.refresh()
    assert "CRAM-MD5" in names()
    book.credential("tim@example.org", mechanisms=["PLAIN"], listeners=["devices"], force=True)
    await authority.refresh()
    assert "CRAM-MD5" in names()
    assert "CRAM-MD5" not in names("devices")
    authority.close()


async def test_names_that_are_none_are_malformed(book: Book) -> None:
    attempt = _typed(book.authority().begin(PEER, "PLAIN"))
    for name in ("", "tim\0", "x" * 300):
        with pytest.raises(Malformed):
            await attempt.check_password(name, Secret(b"x"))
        with pytest.raises(Malformed):
            await attempt.fetch_secret(name, "SCRAM-SHA-256")
    with pytest.raises(Misuse):
        await attempt.fetch_secret("nobody", "SCRAM-SHA-3")
    with pytest.raises(Misuse):
        await attempt.check_token("tim", Secret(b"x"))


class Judge:
    """Judges tokens as a test says."""

    scope = "smtp"
    configuration = "https://issuer.example/.well-known/openid-configuration"
    is_trusted = True
    is_closed = False

    def __init__(self) -> None:
        self.standing = Standing()

    async def verify(self, token: Secret) -> TokenSubject | TokenInvalid:
        text = token.reveal().decode()
        if text == "away":
            raise StoreUnavailable("issuer away")
        if text in ("old", "narrow"):
            return TokenInvalid(f"token {text}", self.scope, self.configuration, lacks_scope=text == "narrow")
        return TokenSubject(text, "https://issuer.example", self.scope, self.configuration, self.standing)

    def trusts(self, issuer: str) -> bool:
        return self.is_trusted and issuer == "https://issuer.example"

    def review(self) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("login", "token", "reason"),
    [
        ("tim@example.org", "tim@example.org", ""),
        ("TIM@example.org", "tim@example.org", ""),
        ("tim@example.org", "old", "token old"),
        ("ann@example.org", "tim@example.org", "token of another login"),
        ("tim@example.org", "nobody", "token of another login"),
        ("nobody", "nobody", "unknown login"),
        ("gone@example.org", "gone@example.org", "account disabled: left us"),
        ("bad\u0007name", "bad\u0007name", "unknown login"),
        ("tim@example.org", "Tim@Example.ORG", ""),
        # Names that others have at the issuer, and that would become his only when they are prepared.
        ("tim@example.org", "\uff54im@example.org", "token of another login"),
        ("tim@example.org", "t\u00adim@example.org", "token of another login"),
        ("", "t\u00adim@example.org", "unknown login"),
    ],
)
async def test_tokens_are_granted_or_refused_in_one_way(book: Book, login: str, token: str, reason: str) -> None:
    book.account("ann@example.org")
    book.account("gone@example.org")
    set_state(book.database, "gone@example.org", active=False, reason="left us")
    authority = book.authority(tokens=Judge())
    attempt = authority.begin(PEER, "XOAUTH2")
    answer = await attempt.check_token(login, Secret(token.encode()))
    assert attempt.reason == reason
    if reason:
        assert answer == TokenRefused(TokenProblem.INVALID, "smtp", Judge.configuration)
    else:
        assert isinstance(answer, Identity)
        assert (answer.account, answer.credential) == ("tim@example.org", TOKEN_CREDENTIAL)
        assert answer.label == "https://issuer.example"
        assert await attempt.admit(answer, "") == answer
        assert await attempt.admit(answer, "ann@example.org") is None
    authority.close()


async def test_a_token_lets_nobody_in_to_an_account_of_canaries_only(book: Book) -> None:
    book.account("bait@example.org")
    book.credential("bait@example.org", canary=True)
    authority = book.authority(tokens=Judge())
    for claimed in ("", "bait@example.org"):
        attempt = authority.begin(PEER, "XOAUTH2")
        answer = await attempt.check_token(claimed, Secret(b"bait@example.org"))
        assert isinstance(answer, TokenRefused)
        assert answer == await authority.begin(PEER, "XOAUTH2").check_token("", Secret(b"nobody"))
        assert attempt.reason == "canary credential"
        assert attempt.canary is not None
        assert attempt.canary.account == "bait@example.org"
    attempt = authority.begin(PEER, "XOAUTH2")
    assert isinstance(await attempt.check_token("tim@example.org", Secret(b"bait@example.org")), TokenRefused)
    assert attempt.canary is None


async def test_an_empty_name_leaves_it_to_the_token_and_an_absent_issuer_is_no_no(book: Book) -> None:
    authority = book.authority(tokens=Judge())
    attempt = authority.begin(PEER, "XOAUTH2")
    assert isinstance(await attempt.check_token("", Secret(b"tim@example.org")), Identity)
    assert attempt.authcid == "tim@example.org"
    with pytest.raises(StoreUnavailable):
        await attempt.check_token("tim@example.org", Secret(b"away"))
    for mechanism in ("XOAUTH2", "OAUTHBEARER"):
        identity, reason, _, client = await _log_in(authority, mechanism, "tim@example.org", b"old")
        assert (identity, reason) == (None, "token old")
        assert len(client.steps) == 1
    authority.close()


async def test_a_token_that_reaches_not_far_enough_is_told_apart(book: Book) -> None:
    authority = book.authority(tokens=Judge())
    for login in ("tim@example.org", "nobody"):
        attempt = authority.begin(PEER, "XOAUTH2")
        answer = await attempt.check_token(login, Secret(b"narrow"))
        assert answer == TokenRefused(TokenProblem.SCOPE, "smtp", Judge.configuration)
    authority.close()


async def test_who_came_by_a_token_stays_while_it_stands_and_its_issuer_is_trusted(book: Book) -> None:
    tokens = Judge()
    authority = book.authority(tokens=tokens)
    answer = await authority.begin(PEER, "XOAUTH2").check_token("", Secret(b"tim@example.org"))
    assert isinstance(answer, Identity)
    identity, reason = await authority.judge(answer, PEER, "XOAUTH2")
    assert (identity.standing, reason) == (tokens.standing, "")
    tokens.standing.ended = "token revoked"
    assert (await authority.judge(identity, PEER, "XOAUTH2"))[1] == "token revoked"
    tokens.is_trusted = False
    assert (await authority.judge(identity, PEER, "XOAUTH2"))[1] == "issuer of the token not trusted any more"
    authority.tokens = None
    assert (await authority.judge(identity, PEER, "XOAUTH2"))[1] == "issuer of the token not trusted any more"
    authority.tokens = tokens
    authority.close()
    assert tokens.is_closed


async def test_no_secret_shows_anywhere(
    book: Book, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    marked = "Marked-Secret-0123456789"
    row, _ = book.credential("tim@example.org", chosen=marked)
    authority = book.authority()
    texts = [repr(row)]
    for mechanism in _PROOFS:
        for password in (marked, marked + "!"):
            found = await _log_in(authority, mechanism, "tim@example.org", password.encode())
            texts += [repr(found[0]), found[1], repr(found[2]), str(found[2].identity)]
    texts += [repr(await authority.find("tim@example.org")), repr(await _first(authority, "tim@example.org"))]
    texts += [caplog.text, *capfd.readouterr()]
    everything = "\n".join(texts).encode()
    everything += b"".join(each.read_bytes() for each in book.path.parent.iterdir())
    for form in (marked.encode(), base64.b64encode(marked.encode()), marked.encode().hex().encode()):
        assert form not in everything
    authority.close()
