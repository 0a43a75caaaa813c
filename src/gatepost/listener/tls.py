"""TLS contexts of the listeners, and what is loaded into them (RFC 8314, RFC 8996, RFC 9325).

A context lives as long as the server, so that the tickets it gave out hold.  Certificates are shown in its place by
contexts that hold nothing else, chosen by the name that a client asks for (SNI), and made anew at a reload; one that
has no more than the pair it began with shows it itself, which costs a handshake less.  A load that fails leaves a
context that fails every handshake: so all pairs are tried first, and the very octets that were tried are used.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from gatepost.errors import ConfigError
from gatepost.listener.client_trust import ClientTrust, front_context, load_trust
from gatepost.listener.memory_file import memory_file

__all__ = [
    "AskingContext",
    "KeyPair",
    "ListenerContext",
    "TlsVersion",
    "load_pairs",
    "overlook_bad_names",
    "read_pair",
    "server_context",
]

C = TypeVar("C", bound="ListenerContext")
TlsVersion = Literal["TLSv1.2", "TLSv1.3"]

# RFC 9325 §4.2: forward secrecy and authenticated encryption, for the versions that leave a choice.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
# What devices from before TLS 1.2 know: forward secrecy where they have it, but nothing without a key or a certificate.
_LEGACY_CIPHERS: Final = f"{_CIPHERS}:ECDHE+AES:RSA+AES:@SECLEVEL=0"
_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """A certificate and its key, as they were read.

    Args:
        name: the files, for messages.
        certificate: the chain, as PEM.
        key: the private key, as PEM; it stands in *certificate* if None.
    """

    name: str
    certificate: bytes
    key: bytes | None


class ListenerContext(ssl.SSLContext):
    """A context that remembers what it shows.

    Attributes:
        expires: when the first of its certificates ends, in seconds since the epoch; None if that is not known.
        own: the pairs that it holds itself; none of another kind can be taken out of it again.
        default: what shows the certificates that go to whoever asks for no name of ours; None if it does so itself.
        by_name: what shows those for a name, or for ``*.`` and the rest of a name.
        ciphers: what it takes before TLS 1.3.
        legacy: the same for old devices; None if no listener is for such.
        asking: the same for each listener that asks clients for a certificate, by its name.
        trust: whose client certificates are taken; None if none is asked for.
    """

    expires: float | None = None
    own: Sequence[KeyPair] = ()
    default: ssl.SSLContext | None = None
    by_name: dict[str, ssl.SSLContext]
    ciphers: str = _CIPHERS
    legacy: ListenerContext | None = None
    asking: Mapping[str, AskingContext] = MappingProxyType({})
    trust: ClientTrust | None = None


class AskingContext(ListenerContext):
    """A context that asks clients for a certificate: in whose place each connection gets one of its own."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Make the TLS of one connection."""
        assert self.trust is not None
        front = front_context(self.trust, self, self._put)
        tls: Any = front.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        tls.front = front
        return cast("ssl.SSLObject", tls)

    def _put(self, tls: ssl.SSLObject, name: str | None, _front: ssl.SSLContext) -> None:
        _choose(tls, name, self)


@dataclass(frozen=True, slots=True)
class _Described:
    """A pair, and what its certificate says.

    Args:
        pair: as it was read.
        kind: of the key: OpenSSL holds one certificate of each kind, and shows what a client can verify.
        names: DNS names in lower case.
        expires: when it ends.
    """

    pair: KeyPair
    kind: str
    names: frozenset[str]
    expires: float | None


def read_pair(certificate: Path, key: Path | None = None) -> KeyPair:
    """Read a certificate and its key.

    Raises:
        ConfigError: a file cannot be read.
    """
    name = f"{certificate}" + (f" and {key}" if key else "")
    try:
        return KeyPair(name, certificate.read_bytes(), key.read_bytes() if key else None)
    except OSError as error:
        raise _unusable(name, error) from None


def server_context(
    pairs: Sequence[KeyPair],
    *,
    minimum_version: TlsVersion = "TLSv1.2",
    has_legacy: bool = False,
    trusts: Mapping[str, ClientTrust] | None = None,
) -> ListenerContext:
    """Make the context of the listeners.

    Args:
        pairs: certificates and keys; the first is for whoever asks for no name of ours, with those of other kinds that
            are for the same names.  The first of its kind counts for each name.
        minimum_version: the oldest version that is taken.
        has_legacy: whether a listener is for devices that know no TLS 1.2, and needs a context of its own.
        trusts: whose client certificates are taken, by the listener that asks for them.

    Raises:
        ConfigError: they cannot be used, or do not fit each other.
    """
    # RFC 8996 §4, RFC 8997 §3: nothing below TLS 1.2.
    context = _make(ListenerContext, pairs, _VERSIONS[minimum_version], _CIPHERS)
    context.asking = {
        name: _make(AskingContext, pairs, _VERSIONS[minimum_version], _CIPHERS, trust)
        for name, trust in (trusts or {}).items()
    }
    if has_legacy:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # Python's, of the version
            context.legacy = _make(ListenerContext, pairs, ssl.TLSVersion.TLSv1, _LEGACY_CIPHERS)
    return context


def load_pairs(
    context: ssl.SSLContext,
    pairs: Sequence[KeyPair],
    *,
    minimum_version: TlsVersion = "TLSv1.2",
    trusts: Mapping[str, ClientTrust] | None = None,
) -> None:
    """Let the living context of the listeners go on with *pairs*; connections that stand keep what they have.

    Args:
        context: that `server_context` made.
        pairs: as there.
        minimum_version: as there.
        trusts: as there, for the same listeners; one that is not named goes on with what it had.

    Raises:
        ConfigError: one cannot be used; the context is as it was.
    """
    assert isinstance(context, ListenerContext)
    changes = [_show(each, pairs, None) for each in (context, context.legacy) if each is not None]
    changes += [_show(each, pairs, (trusts or {}).get(name, each.trust)) for name, each in context.asking.items()]
    for change in changes:
        change()
    for each in (context, *context.asking.values()):
        each.minimum_version = _VERSIONS[minimum_version]


def _make(
    kind: type[C],
    pairs: Sequence[KeyPair],
    oldest: ssl.TLSVersion,
    ciphers: str,
    trust: ClientTrust | None = None,
) -> C:
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = oldest
    context.ciphers = ciphers
    context.set_ciphers(ciphers)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1
    if trust is None:
        context.own = tuple(pairs[:1])
        _load(context, pairs[0])
    _show(context, pairs, trust)()
    return context


def _show(context: ListenerContext, pairs: Sequence[KeyPair], trust: ClientTrust | None) -> Callable[[], None]:
    """Make what shows *pairs*; return what lets *context* use it, and cannot fail."""
    described = [_describe(each) for each in pairs]
    first = described[0]
    made: dict[tuple[KeyPair, ...], ssl.SSLContext] = {}

    def holding(fitting: list[_Described]) -> ssl.SSLContext:
        # The first of each kind.
        chosen = tuple({each.kind: each.pair for each in reversed(fitting)}.values())
        if chosen not in made:
            made[chosen] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            # These count; all else is taken from the listener's context before.
            made[chosen].set_ciphers(context.ciphers)
            for pair in chosen:
                _load(made[chosen], pair)
            if trust is not None:
                load_trust(made[chosen], trust)
        return made[chosen]

    default = holding([first, *(each for each in described[1:] if first.names and first.names <= each.names)])
    names = {name for each in described for name in each.names}
    by_name = {name: holding([each for each in described if name in each.names]) for name in names}
    is_own = len(pairs) == 1 and tuple(pairs) == context.own
    ends = [each.expires for each in described if each.expires is not None]

    def change() -> None:
        context.default = None if is_own else default
        context.by_name = {name: each for name, each in by_name.items() if each is not default}
        context.sni_callback = None if is_own else _choose
        context.expires = min(ends, default=None)
        context.trust = trust

    return change


def _choose(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
    """Show what fits *name*."""
    assert isinstance(context, ListenerContext)
    # RFC 6066 §3: for a name that is not ours the handshake may go on without a word; it gets the default.
    fitting = None
    if name and context.by_name:
        name = name.lower()
        fitting = context.by_name.get(name) or context.by_name.get(f"*.{name.partition('.')[2]}")
    if fitting is None:
        fitting = context.default
    if fitting is not None:
        tls.context = fitting


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    try:
        with contextlib.ExitStack() as files:
            certificate = files.enter_context(memory_file(pair.certificate))
            key = None if pair.key is None else files.enter_context(memory_file(pair.key))
            context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise _unusable(pair.name, error) from None


def overlook_bad_names() -> None:
    """Let a client that asks for a name that is no ASCII fail without a traceback on standard error.

    Python's ssl decodes the name for `_choose`, and has nobody to tell of what it cannot; the handshake fails.
    """
    usual = sys.unraisablehook

    def hook(trouble: sys.UnraisableHookArgs) -> None:
        if not (isinstance(trouble.exc_value, UnicodeDecodeError) and isinstance(trouble.object, bytes)):
            usual(trouble)

    sys.unraisablehook = hook


def _describe(pair: KeyPair) -> _Described:
    try:
        leaf = x509.load_pem_x509_certificate(pair.certificate)
        names: list[str] = []
        with contextlib.suppress(x509.ExtensionNotFound):
            general = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = general.get_values_for_type(x509.DNSName)
        end = leaf.not_valid_after_utc.timestamp()
        return _Described(pair, type(leaf.public_key()).__name__, frozenset(map(str.lower, names)), end)
    except (ValueError, UnsupportedAlgorithm):
        return _Described(pair, "", frozenset(), None)  # OpenSSL takes more than others do


def _unusable(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"tls.certificate: {name} cannot be used: {error}; give a PEM chain and its key, without a passphrase"
    )


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase")
