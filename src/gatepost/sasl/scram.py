"""SCRAM: both sides prove that they know the secret, and the store need not keep it (RFC 5802, RFC 7677).

One conversation for every hash function, with channel binding (``-PLUS``) and without.  Records have the text form of
RFC 5803, one for each hash function, and serve both:

    SCRAM-SHA-256$15000:<salt>$<StoredKey>:<ServerKey>          the last three in base64

`derive` makes one and `verify` checks a password against one, as PLAIN and LOGIN need it; both cost a PBKDF2, so they
belong in a thread.  The conversation itself costs a few HMACs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from gatepost.errors import Malformed, Misuse
from gatepost.model.identity import Identity
from gatepost.sasl.gs2 import Gs2Header, parse_gs2_header, parse_saslname
from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.prepare import decode_text, prepare_name
from gatepost.sasl.steps import Denied, Exchange, Granted, Held, Outcome, ask, fetch_secret
from gatepost.sasl.wire import decode_base64, encode_base64

__all__ = [
    "MINIMUM_ITERATIONS",
    "SCRAM_SHA_1",
    "SCRAM_SHA_1_PLUS",
    "SCRAM_SHA_256",
    "SCRAM_SHA_256_PLUS",
    "SCRAM_SHA_512",
    "SCRAM_SHA_512_PLUS",
    "ClientFinal",
    "ClientFirst",
    "Keys",
    "Record",
    "derive",
    "exclusive_or",
    "key_size",
    "keys_of",
    "parse_client_final",
    "parse_client_first",
    "parse_record",
    "scram",
    "sign",
    "stored_key",
    "verify",
]

MINIMUM_ITERATIONS: Final = 4096
"""RFC 7677 §4: no fewer, in a record of ours and in what a server tells us."""

_HASHES: Final = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}

# RFC 5802 §7: printable ASCII but the comma; a name without bare commas; extensions, which are not looked at.
_NONCE: Final = r"[\x21-\x2b\x2d-\x7e]+"
_EXTENSIONS: Final = r"(?:,[A-Za-z]=[^\0,]+)*"
_CLIENT_FIRST_BARE: Final = re.compile(rf"n=(?P<name>[^\0,]+),r=(?P<nonce>{_NONCE}){_EXTENSIONS}")
_CLIENT_FINAL: Final = re.compile(
    rf"(?P<covered>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>{_NONCE}){_EXTENSIONS}),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
# RFC 5802 §5.1: "m" announces an extension that must be understood, and nobody has defined one.
_MANDATORY: Final = b",m="
_RECORD: Final = re.compile(
    r"(?P<scheme>[A-Z0-9-]+)\$(?P<iterations>[1-9][0-9]{0,8}):(?P<salt>[^$:]+)\$(?P<stored>[^$:]+):(?P<server>[^$:]+)"
)


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """What is kept for one secret (RFC 5803); it never shows its keys.

    Args:
        scheme: name of the mechanism it serves.
        salt: of the account.
        iterations: of PBKDF2.
        stored_key: proves the client.
        server_key: proves us.
    """

    scheme: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __str__(self) -> str:
        """Return the text form, which is what is kept."""
        salt, stored, server = (encode_base64(each).decode() for each in (self.salt, self.stored_key, self.server_key))
        return f"{self.scheme}${self.iterations}:{salt}${stored}:{server}"

    def __repr__(self) -> str:
        return f"<{self.scheme} record>"


def parse_record(text: str) -> Record:
    """Parse the text form.

    Raises:
        ValueError: it is no record, or one of a hash function that we do not know.
    """
    match = _RECORD.fullmatch(text)
    if match is None or match["scheme"] not in _HASHES:
        raise ValueError("no SCRAM record")
    try:
        salt, stored, server = (decode_base64(match[each].encode()) for each in ("salt", "stored", "server"))
    except Malformed:
        raise ValueError("SCRAM record that is not base64") from None  # our trouble, and no client's
    if {len(stored), len(server)} != {key_size(match["scheme"])}:
        raise ValueError("SCRAM record with keys of a wrong length")
    return Record(match["scheme"], salt, int(match["iterations"]), stored, server)


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """All keys of a secret: whoever has it can make them."""

    client_key: bytes
    stored_key: bytes
    server_key: bytes


def keys_of(password: bytes, salt: bytes, iterations: int, scheme: str = "SCRAM-SHA-256") -> Keys:
    """Return the keys of a prepared password (RFC 5802 §3); this is the slow part."""
    digest = _HASHES[scheme]
    # RFC 5802 §2.2: Hi is PBKDF2 with HMAC, as long as the hash.
    salted = hashlib.pbkdf2_hmac(digest, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", digest)
    return Keys(client_key, _hash(client_key, scheme), hmac.digest(salted, b"Server Key", digest))


def stored_key(password: bytes, salt: bytes, iterations: int, scheme: str = "SCRAM-SHA-256") -> bytes:
    """Return StoredKey of a prepared password: one call serves all records that share salt and count."""
    return keys_of(password, salt, iterations, scheme).stored_key


def derive(password: bytes, salt: bytes, iterations: int, scheme: str = "SCRAM-SHA-256") -> str:
    """Return the record of a prepared password."""
    keys = keys_of(password, salt, iterations, scheme)
    return str(Record(scheme, salt, iterations, keys.stored_key, keys.server_key))


def verify(record: Record, password: bytes) -> bool:
    """Tell whether *record* is of that prepared password."""
    stored = stored_key(password, record.salt, record.iterations, record.scheme)
    return hmac.compare_digest(stored, record.stored_key)


def key_size(scheme: str) -> int:
    """Return how many octets each key of a record has."""
    return hashlib.new(_HASHES[scheme]).digest_size


def sign(key: bytes, said: bytes, scheme: str) -> bytes:
    """Return the signature under *key* of all that both sides have said (RFC 5802 §3)."""
    return hmac.digest(key, said, _HASHES[scheme])


def _hash(octets: bytes, scheme: str) -> bytes:
    return hashlib.new(_HASHES[scheme], octets).digest()


def exclusive_or(one: bytes, other: bytes) -> bytes:
    """Return *one* XOR *other*, which are of the same length."""
    return bytes(left ^ right for left, right in zip(one, other, strict=True))


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """What a client says first.

    Args:
        header: its GS2 header.
        bare: the rest, as it came.
        name: who proves, not prepared yet.
        nonce: the client's part.
    """

    header: Gs2Header
    bare: str
    name: str
    nonce: str


def parse_client_first(message: bytes) -> ClientFirst:
    """Parse client-first-message.

    Raises:
        Malformed: it is none.
    """
    header, bare = parse_gs2_header(decode_text(message, "SCRAM message"))
    match = _CLIENT_FIRST_BARE.fullmatch(bare)
    if match is None:
        raise Malformed("bad first SCRAM message")
    return ClientFirst(header, bare, parse_saslname(match["name"]), match["nonce"])


@dataclass(frozen=True, slots=True, repr=False)
class ClientFinal:
    """What a client says last.

    Args:
        covered: all of it before the proof, as it came.
        binding: value of ``c=``, still in base64.
        nonce: both parts.
        proof: ClientProof.
    """

    covered: str
    binding: str
    nonce: str
    proof: bytes


def parse_client_final(message: bytes) -> ClientFinal:
    """Parse client-final-message.

    Raises:
        Malformed: it is none.
    """
    match = _CLIENT_FINAL.fullmatch(decode_text(message, "SCRAM message"))
    if match is None:
        raise Malformed("bad final SCRAM message")
    return ClientFinal(match["covered"], match["binding"], match["nonce"], decode_base64(match["proof"].encode()))


def scram(needs: Needs, *, binds: bool = False) -> Mechanism:
    """Return a mechanism.

    Args:
        needs: what the stores must have; its value is the mechanism's name, and what its records start with.
        binds: whether it is the one with channel binding.
    """
    scheme = needs.value
    plus = f"{scheme}-PLUS"

    def exchange(initial: bytes | None, context: Context) -> Exchange[Outcome]:
        message = (yield from ask(b"")) if initial is None else initial
        if _MANDATORY in message:
            return Denied("mandatory SCRAM extension")
        first = parse_client_first(message)
        # RFC 5802 §6: "p" belongs to the -PLUS name and nothing else does; "y" where we offer that name means that
        # somebody cut it from our list.
        if binds and first.header.flag != "p":
            return Denied("no channel binding under the -PLUS name")
        if not binds and first.header.flag == "p":
            return Denied("channel binding under the plain name")
        if first.header.flag == "y" and plus in context.offered:
            return Denied("client did not see that we offer channel binding")
        bound = context.bindings.get(first.header.binding) if binds else b""
        if bound is None:
            return Denied("channel binding of a type that we do not have")
        authcid = prepare_name(first.name)
        authzid = prepare_name(first.header.authzid) if first.header.authzid else ""

        held = yield from fetch_secret(authcid, scheme)
        records = _records(held, scheme)
        salt, iterations = records[0][1].salt, records[0][1].iterations
        nonce = first.nonce + context.nonce()
        server_first = f"r={nonce},s={encode_base64(salt).decode()},i={iterations}"
        message = yield from ask(server_first.encode())
        if _MANDATORY in message:
            return Denied("mandatory SCRAM extension")
        final = parse_client_final(message)
        if len(final.proof) != len(records[0][1].stored_key):
            raise Malformed("SCRAM proof of a wrong length")

        # RFC 5802 §5.1: "c" repeats the GS2 header, with what the client sees of the channel, and "r" the nonce, octet
        # by octet.
        if final.binding.encode() != encode_base64(first.header.text.encode() + bound):
            return Denied("other end of another channel" if binds else "GS2 header changed on the way")
        if final.nonce != nonce:
            return Denied("wrong nonce")

        # RFC 5802 §3: AuthMessage is what both have said, so nothing of it can be changed on the way.
        said = f"{first.bare},{server_first},{final.covered}".encode()
        found: Identity | None = None
        proof_of_ours = b""
        for identity, record in records:  # all of them, also after a match: one time for all
            key = exclusive_or(final.proof, sign(record.stored_key, said, scheme))
            ours = sign(record.server_key, said, scheme)
            if hmac.compare_digest(_hash(key, scheme), record.stored_key) and found is None:
                found, proof_of_ours = identity, ours
        # RFC 5802 §7: sending "e=" is optional; a plain "no" at once is what most clients get right.
        if found is None:
            return Denied("wrong proof or unknown name")
        return Granted(found, authzid, b"v=" + encode_base64(proof_of_ours))

    return Mechanism(plus if binds else scheme, exchange, needs, binds)


def _records(held: Held, scheme: str) -> list[tuple[Identity | None, Record]]:
    """Return what the stores hold; all of it must share salt and count, which are told before anything is proven."""
    records = [(each.identity, parse_record(each.verifier.reveal().decode())) for each in held.candidates]
    if {(record.scheme, record.salt, record.iterations) for _, record in records} != {
        (scheme, records[0][1].salt, records[0][1].iterations)
    }:
        raise Misuse("SCRAM records of one name differ in scheme, salt or iteration count")
    return records


SCRAM_SHA_1 = scram(Needs.SCRAM_SHA_1)
SCRAM_SHA_256 = scram(Needs.SCRAM_SHA_256)
SCRAM_SHA_512 = scram(Needs.SCRAM_SHA_512)
SCRAM_SHA_1_PLUS = scram(Needs.SCRAM_SHA_1, binds=True)
SCRAM_SHA_256_PLUS = scram(Needs.SCRAM_SHA_256, binds=True)
SCRAM_SHA_512_PLUS = scram(Needs.SCRAM_SHA_512, binds=True)
