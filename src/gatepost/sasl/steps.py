"""What a SASL mechanism may say, and what it may be told.

A mechanism is a generator.  It touches no socket, no store, no clock: it *yields* a step - a question for the client
or for the credential stores - is *sent* the answer, and *returns* an outcome (RFC 4422 §3).

    step                answer
    Challenge           bytes                what the client responded
    CheckPassword       Identity | None      whose password it is; None for every kind of no
    FetchSecret         Held                 what the stores hold for a name; a decoy for an unknown one
    CheckToken          Identity | TokenRefused
    CheckCertificate    Identity | None      whose client certificate it is
    Vouch               Identity | None      whose name it is that the mechanism has proven by itself
    InThread            whatever it returns  what would make others wait is done beside them

The last two are for mechanisms that are proven elsewhere (a ticket of Kerberos', a domain controller), in as many
challenges as it takes: each token of the client's goes to a library in a thread, and what that says goes back.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from gatepost.model.identity import Identity, Secret

__all__ = [
    "Candidate",
    "Challenge",
    "CheckCertificate",
    "CheckPassword",
    "CheckToken",
    "Denied",
    "Exchange",
    "FetchSecret",
    "Granted",
    "Held",
    "InThread",
    "Outcome",
    "Step",
    "TokenProblem",
    "TokenRefused",
    "Vouch",
    "ask",
    "check_certificate",
    "check_password",
    "check_token",
    "fetch_secret",
    "in_thread",
    "refuse",
    "vouch",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Challenge:
    """For the client.  Answer: ``bytes``.

    Args:
        data: what to say.
        is_refusal: whether it says that the exchange will end in a no: it comes at the moment at which every no does.
    """

    data: bytes
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """For the stores.  Answer: ``Identity | None``."""

    authcid: str
    password: Secret


@dataclass(frozen=True, slots=True)
class FetchSecret:
    """For the stores: every verifier of *scheme* that *authcid* has.  Answer: ``Held``.

    Schemes: ``SCRAM-SHA-1``, ``-256`` and ``-512`` give the record of RFC 5803 as ASCII text; ``HMAC-MD5`` gives 32
    octets, the inner and outer state.
    """

    authcid: str
    scheme: str


@dataclass(frozen=True, slots=True)
class CheckToken:
    """For the stores: is this access token (RFC 6750) good, and does it belong to *authcid*?

    Answer: ``Identity | TokenRefused``.  An empty *authcid* leaves the name to the token.
    """

    authcid: str
    token: Secret


@dataclass(frozen=True, slots=True)
class CheckCertificate:
    """For the stores: whose is the client certificate of this connection?  Answer: ``Identity | None``.

    *authzid* is whom they want to act as; it also says which of several names in a certificate is meant.
    """

    authzid: str


@dataclass(frozen=True, slots=True)
class Vouch:
    """For the stores: who is *authcid*, whose proof somebody else has judged?  Answer: ``Identity | None``.

    The mechanism alone answers for the proof.
    """

    authcid: str


@dataclass(frozen=True, slots=True)
class InThread:
    """For a thread: what may block, or take longer than a millisecond.  Answer: what *work* returns.

    *work* may raise `Malformed`, which is a no, and `StoreUnavailable`, which is none.  One that takes longer than
    half a minute is not waited for, and counts as the latter.
    """

    work: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One credential that may be the one.  Nobody owns a decoy, given out when the name is unknown."""

    identity: Identity | None  # names the account and the credential
    verifier: Secret


@dataclass(frozen=True, slots=True)
class Held:
    """What the stores hold for a name: never empty, for an unknown name has one decoy."""

    candidates: tuple[Candidate, ...]


class TokenProblem(enum.Enum):
    """What a client may be told of a token that is not good: nobody learns who exists."""

    MALFORMED = "malformed"
    INVALID = "invalid"  # also expired, of another issuer, for another audience, or of somebody else
    SCOPE = "scope"


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """A token is not good.

    Args:
        problem: what is wrong with it.
        scope: what one would need, for the client to ask its issuer.
        configuration: address of the issuer's OpenID configuration, for a client that does not know its issuer.
    """

    problem: TokenProblem
    scope: str = ""
    configuration: str = ""


Step = Challenge | CheckPassword | FetchSecret | CheckToken | CheckCertificate | Vouch | InThread


@dataclass(frozen=True, slots=True)
class Granted:
    """The proof holds.

    Args:
        identity: whose it is.
        authzid: whom they want to act as; empty for themselves (RFC 4422 §2).  The driver decides about it.
        final: data that goes with success, if the mechanism has any.
    """

    identity: Identity
    authzid: str = ""
    final: bytes | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The proof does not hold; *reason* is for the log."""

    reason: str


Outcome = Granted | Denied
Exchange = Generator[Step, Any, T]


def ask(data: bytes) -> Exchange[bytes]:
    """Send a challenge; return the response."""
    response: bytes = yield Challenge(data)
    return response


def refuse(data: bytes) -> Exchange[None]:
    """Tell the client why there will be a no; whatever it responds, nothing hangs on it."""
    yield Challenge(data, is_refusal=True)


def check_password(authcid: str, password: Secret) -> Exchange[Identity | None]:
    """Ask the stores whose password it is."""
    identity: Identity | None = yield CheckPassword(authcid, password)
    return identity


def fetch_secret(authcid: str, scheme: str) -> Exchange[Held]:
    """Ask the stores for the verifiers of a name."""
    held: Held = yield FetchSecret(authcid, scheme)
    return held


def check_token(authcid: str, token: Secret) -> Exchange[Identity | TokenRefused]:
    """Ask the stores about an access token."""
    answer: Identity | TokenRefused = yield CheckToken(authcid, token)
    return answer


def check_certificate(authzid: str) -> Exchange[Identity | None]:
    """Ask the stores whose client certificate it is."""
    identity: Identity | None = yield CheckCertificate(authzid)
    return identity


def vouch(authcid: str) -> Exchange[Identity | None]:
    """Ask the stores who somebody is whose proof the mechanism has seen."""
    identity: Identity | None = yield Vouch(authcid)
    return identity


def in_thread(work: Callable[[], T]) -> Exchange[T]:
    """Have *work* done in a thread; return what it returns."""
    result: T = yield InThread(work)
    return result
