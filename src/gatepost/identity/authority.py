"""Who may log in: asks the stores in order, hands out decoys for unknown names, and admits after the proof.

Fits `Authority` and `Attempt` of `gatepost.session.auth`.  An unknown name walks the same road as a wrong password:
a decoy is looked at in place of the account, and nobody is found at its end.  The true reason of a no is for the log
only (`LoginAttempt.reason`, `LoginAttempt.doomed`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from gatepost.errors import Malformed, Misuse
from gatepost.identity.admission import CANARY, why_not, why_not_account
from gatepost.identity.beside import Beside
from gatepost.identity.certificates import Holder, Naming, find_holder
from gatepost.identity.decoys import DECOY, Decoys
from gatepost.identity.offer import Offer
from gatepost.identity.passwords import Passwords
from gatepost.identity.renewal import Renewals
from gatepost.identity.sealing import Sealer
from gatepost.identity.secret import is_mistyped
from gatepost.identity.stand_ins import TOKEN_CREDENTIAL, VOUCHED_CREDENTIAL, credential_used
from gatepost.identity.store import HMAC_MD5, Account, Credential, Store
from gatepost.identity.stores.order import Found, StoresInOrder
from gatepost.identity.tokens import TokenInvalid, Tokens, TokenSubject
from gatepost.identity.verifiers import Argon2
from gatepost.model.clock import Clock
from gatepost.model.identity import Identity, Secret
from gatepost.model.peer import ClientCertificate, Peer
from gatepost.observe.events import Event
from gatepost.sasl.mechanism import Mechanism
from gatepost.sasl.prepare import prepare_name, prepare_stated_name
from gatepost.sasl.steps import Candidate, Held, TokenProblem, TokenRefused
from gatepost.state.keys import Keys

__all__ = ["Authority", "LoginAttempt"]

_WATCH_SECONDS: Final = 1.0


class Authority:
    """Answers sessions.

    Args:
        stores: asked in this order; the first that knows a name speaks for it.
        passwords: checks passwords away from the loop.
        keys: of the node.
        clock: what time it is.
        mechanisms: those that are on, by name of the listener, in the order EHLO shows them.
        iterations: SCRAM iteration count of new records.
        argon2: cost of argon2id for new hashes.
        tokens: judges access tokens; None where no issuer is configured.
        emit: hears that a store is away, and that it is back.
        naming: what of a client certificate names its account, by name of the listener; nothing, if not given.
        renewals: make verifiers anew that are not as they would be made today; None leaves them.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        passwords: Passwords,
        keys: Keys,
        clock: Clock,
        mechanisms: Mapping[str, Sequence[Mechanism]],
        *,
        iterations: int = 15_000,
        argon2: Argon2 | None = None,
        tokens: Tokens | None = None,
        emit: Callable[[Event], None] | None = None,
        naming: Mapping[str, Naming] | None = None,
        renewals: Renewals | None = None,
    ) -> None:
        self.passwords = passwords
        self.renewals = renewals
        self.clock = clock
        self.tokens = tokens
        self.sealer = Sealer(keys)
        self._stores = StoresInOrder(stores, emit)
        self._decoys = Decoys(keys)
        self._iterations = iterations
        self._argon2 = argon2 or Argon2()
        self._offer = Offer(self._stores, clock, mechanisms, has_tokens=tokens is not None)
        self._naming = naming or {}
        self.beside = Beside()
        self._is_closed = False

    def offered(self, listener: str) -> tuple[Mechanism, ...]:
        """Return the mechanisms that work on *listener* at this moment, in the order EHLO shows them."""
        return self._offer.on(listener)

    def begin(self, peer: Peer, mechanism: str) -> LoginAttempt:
        """Start an attempt."""
        return LoginAttempt(self, peer, mechanism)

    @property
    def away(self) -> tuple[str, ...]:
        """Names of the stores that could not be looked at."""
        return self._stores.away

    async def refresh(self) -> None:
        """Notice what has changed in the stores; once before the first session."""
        await self._offer.refresh()

    async def watch(self, on_change: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Notice what changes in the stores, once a second, until closed.

        Args:
            on_change: called at the beginning, and whenever a login that counted may not count any more; called again
                a second later if it says that it could not do all it should.
        """
        is_due = True
        while not self._is_closed:
            is_due = await self._offer.refresh() or is_due
            if self.tokens is not None:
                is_due = self.tokens.review() or is_due
            if is_due and on_change is not None:
                is_due = not await on_change()
            await self.clock.sleep(_WATCH_SECONDS)

    async def judge(self, identity: Identity, peer: Peer, mechanism: str) -> tuple[Identity, str]:
        """Look somebody up who has proved who they are.

        Args:
            identity: who they were then.
            peer: where they are.
            mechanism: how they proved it.

        Returns:
            Who they are now, and why they may not be here, if they may not.

        Raises:
            StoreUnavailable: a store cannot be asked.
        """
        account = await self.find(identity.account)
        if account is None:
            return identity, "account removed"
        credential = credential_used(account, identity)
        if credential is None:
            return identity, "credential removed"
        reason = why_not(account, credential, peer, mechanism, self.clock.now())
        found = account.identity(credential)
        if credential.id == TOKEN_CREDENTIAL:
            found = dataclasses.replace(found, standing=identity.standing)
            reason = self._why_not_token(found) or reason
        return found, reason

    def _why_not_token(self, identity: Identity) -> str:
        if self.tokens is None or not self.tokens.trusts(identity.label):
            return "issuer of the token not trusted any more"
        return identity.standing.ended if identity.standing is not None else ""

    def close(self) -> None:
        """Let go of stores, issuers and threads."""
        self._is_closed = True
        self.passwords.close()
        self.beside.close()
        if self.tokens is not None:
            self.tokens.close()
        if self.renewals is not None:
            self.renewals.close()
        self._stores.close()

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name.  Raises `StoreUnavailable`."""
        return await self._stores.find(login)

    async def look(self, login: str, password: Secret | None = None, peer: Peer | None = None) -> Found:
        """Look a prepared name up; its store may check the *password* itself.  Raises `StoreUnavailable`."""
        return await self._stores.look(login, password, peer)

    async def holder(self, peer: Peer, certificate: ClientCertificate, claimed: str) -> Holder:
        """Return whose the client certificate of *peer* is.  Raises `StoreUnavailable`."""
        return await find_holder(self._stores, certificate, self._naming.get(peer.listener, "credential"), claimed)

    def decoy_account(self, login: str) -> Account:
        """Return what stands in for an account that does not exist."""
        iterations = self._decoys.draw("iterations", login, self._offer.iterations, self._iterations)
        return self._decoys.account(login, iterations)

    def pad(self, account: Account) -> Account:
        """Return *account*, real or not, with what makes a wrong password for it cost what it costs for all others."""
        return self._decoys.pad(account, self._offer.work, self._argon2)

    def decoy_verifier(self, account: Account, scheme: str) -> Secret:
        """Return a verifier that nothing opens, as a mechanism fetches it."""
        verifier = self._decoys.fetched(account, scheme)
        if verifier is None:
            raise Misuse(f"no mechanism fetches a verifier of scheme {scheme}")
        return verifier


class LoginAttempt:
    """One attempt to log in: answers the steps of a mechanism, and remembers the true reason of a no.

    Attributes:
        authcid: the name somebody claims, prepared, for the log; empty until known.
        reason: why the last answer was a no; empty otherwise.
        doomed: why a decoy was handed out, so that the exchange can only end in a no; nobody may notice before its end.
        identity: who was found, even when they were then refused, for the log.
        doubt: which stores were away when the name was looked up: a no must be left open then.
        is_judged: whether a no would be one of the name's own store.
        canary: whose canary was touched: its secret was brought, or its account holds canaries only.
    """

    __slots__ = (
        "_authority",
        "_mechanism",
        "_peer",
        "_renew",
        "authcid",
        "canary",
        "doomed",
        "doubt",
        "identity",
        "is_judged",
        "reason",
    )

    def __init__(self, authority: Authority, peer: Peer, mechanism: str) -> None:
        self._authority = authority
        self._peer = peer
        self._mechanism = mechanism
        self._renew: Callable[[], None] | None = None
        self.authcid = ""
        self.reason = ""
        self.doomed = ""
        self.doubt = ""
        self.is_judged = True
        self.identity: Identity | None = None
        self.canary: Identity | None = None

    async def check_password(self, authcid: str, password: Secret) -> Identity | None:
        """Return whose password it is.  Raises `StoreUnavailable`, `Malformed`."""
        self.authcid = prepare_name(authcid)
        found = self._note(await self._authority.look(self.authcid, password, self._peer))
        account = found.account
        self._look_for_bait(account)
        checked, credential = account or self._authority.decoy_account(self.authcid), found.opened
        now = self._authority.clock.now()

        def admits(each: Credential) -> bool:
            return not why_not(checked, each, self._peer, self._mechanism, now)

        # A no costs the same, also for a name whose store has said it already.
        if credential is None or not admits(credential):
            opened = await self._authority.passwords.find(checked, password, admits, self._authority.pad)
            credential = credential if found.is_checked else opened
        if account is None:
            self.reason = "unknown login"
        elif credential is None or credential.id == DECOY:
            self.reason = "wrong secret, mistyped by its check digit" if is_mistyped(password) else "wrong secret"
        else:
            self.reason = ""
            self.identity = account.identity(credential)
            renewals = self._authority.renewals
            if renewals is not None and found.keeper is not None and renewals.is_due(account, credential):
                self._renew = functools.partial(renewals.ask, found.keeper, account, credential, password)
            return self.identity
        return None

    async def fetch_secret(self, authcid: str, scheme: str) -> Held:
        """Return what the stores hold for a name, or a decoy.  Raises `StoreUnavailable`, `Malformed`."""
        self.authcid = prepare_name(authcid)
        account = self._note(await self._authority.look(self.authcid)).account
        self._look_for_bait(account)
        self.doomed = "unknown login" if account is None else ""
        candidates: dict[Secret, Candidate] = {}
        for credential in account.credentials if account else ():
            if account and scheme in credential.verifiers:
                verifier = self._open(credential, scheme)
                # Two have the same secret: one stands and comes first, the other is gone.
                candidates.setdefault(verifier, Candidate(account.identity(credential), verifier))
        if candidates:
            return Held(tuple(candidates.values()))
        if account:
            self.doomed = f"no credential with a verifier for {self._mechanism}"
        shown = account or self._authority.decoy_account(self.authcid)
        return Held((Candidate(None, self._authority.decoy_verifier(shown, scheme)),))

    async def check_token(self, authcid: str, token: Secret) -> Identity | TokenRefused:
        """Judge an access token and whom it names.  Raises `StoreUnavailable`."""
        tokens = self._authority.tokens
        if tokens is None:
            raise Misuse("a token, and nobody to judge it")
        subject = await tokens.verify(token)
        claimed = self.authcid = _prepared(authcid) if authcid else ""
        if isinstance(subject, TokenInvalid):
            return self._refuse_token(subject.reason, subject)
        login = _prepared(subject.name, prepare_stated_name)
        account = self._note(await self._authority.look(login)).account if login else None
        # The name is compared after the look-up, and all answers are one: nobody learns who exists.
        if authcid and claimed != login:
            return self._refuse_token("token of another login", subject)
        self.authcid = login
        if account is None:
            return self._refuse_token("unknown login", subject)
        self._look_for_bait(account)
        if self.canary is not None:
            return self._refuse_token(CANARY, subject)
        identity = account.identity(Credential(TOKEN_CREDENTIAL, subject.issuer))
        self.identity = dataclasses.replace(identity, standing=subject.standing)
        problem = why_not_account(account, self._authority.clock.now())
        if problem:
            return self._refuse_token(problem, subject)
        self.reason = ""
        return self.identity

    async def check_certificate(self, authzid: str) -> Identity | None:
        """Return whose client certificate this connection has.  Raises `StoreUnavailable`."""
        claimed = self.authcid = _prepared(authzid) if authzid else ""
        certificate = self._peer.certificate
        if certificate is None:
            self.reason = "no client certificate"
            return None
        holder = await self._authority.holder(self._peer, certificate, claimed)
        account = self._note(holder.found).account
        self.authcid = holder.login or claimed
        self._look_for_bait(account)
        self.reason = holder.problem
        if account is None or holder.credential is None:
            return None
        self.identity = account.identity(holder.credential)
        return self.identity

    async def vouch(self, authcid: str) -> Identity | None:
        """Return who somebody is whose proof was judged elsewhere.  Raises `StoreUnavailable`, `Malformed`."""
        self.authcid = prepare_name(authcid)
        account = self._note(await self._authority.look(self.authcid)).account
        self._look_for_bait(account)
        self.reason = "unknown login" if account is None else ""
        if account is None:
            return None
        self.identity = account.identity(Credential(VOUCHED_CREDENTIAL, self._mechanism))
        return self.identity

    async def in_thread(self, work: Callable[[], object]) -> object:
        """Return what *work* returns, done in a thread.  Raises `StoreUnavailable`, and what *work* raises."""
        return await self._authority.beside.run(work)

    async def admit(self, identity: Identity, authzid: str) -> Identity | None:
        """After the proof: may this identity log in here, now, this way, as *authzid*?  None is a no, with `reason`."""
        # What was known when the exchange began may be a minute old.
        self.identity, self.reason = await self._authority.judge(identity, self._peer, self._mechanism)
        if self.reason == CANARY:
            self.canary = self.identity
        elif self.canary is not None:
            # An account of canaries alone is nobody's, whatever else proves its name.
            self.reason = self.reason or CANARY
        # RFC 4616 §2: an empty authzid is the login itself; nobody may act as anybody else.
        if not self.reason and authzid:
            acting_as = _prepared(authzid)
            # A store may know whoever has proved this name by another one.
            if not acting_as or acting_as not in (self.identity.account, self.authcid):
                self.reason = "may not act as another login"
        if not self.reason and self._renew is not None:
            self._renew()
        return None if self.reason else self.identity

    def _note(self, found: Found) -> Found:
        self.doubt = found.doubt
        self.is_judged = found.account is not None or not found.doubt
        return found

    def _look_for_bait(self, account: Account | None) -> None:
        bait = account.bait if account else None
        if account and bait:
            self.canary = account.identity(bait)

    def _open(self, credential: Credential, scheme: str) -> Secret:
        verifier = credential.verifiers[scheme]
        return self._authority.sealer.open(credential.id, scheme, verifier) if scheme == HMAC_MD5 else verifier

    def _refuse_token(self, reason: str, judged: TokenInvalid | TokenSubject) -> TokenRefused:
        """Say no in words that hang on the token alone: nobody learns from them who exists, and who may log in."""
        self.reason = reason
        # RFC 6750 §3.1: a good token that does not reach so far is told apart, so that its client asks for another.
        lacks_scope = isinstance(judged, TokenInvalid) and judged.lacks_scope
        problem = TokenProblem.SCOPE if lacks_scope else TokenProblem.INVALID
        return TokenRefused(problem, judged.scope, judged.configuration)


def _prepared(name: str, prepare: Callable[[str], str] = prepare_name) -> str:
    """Return *name* prepared; empty, which is nobody, if it is no name."""
    try:
        return prepare(name)
    except Malformed:
        return ""
