"""Keys for tests that sign mail, hostile messages to sign, and who verifies: dkimpy, opendkim, Mail::DKIM."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import dkim

from gatepost.message.dkim_key import PrivateKey, kind_of, make_key, record, signing_key
from gatepost.message.signer import DomainKeys, ScheduledKey, Signer
from queue_world import JumpingClock

__all__ = ["MESSAGES", "domain_keys", "make_signer", "opendkim", "perl", "private_keys", "records", "verified"]

_PERL = Path(__file__).parent / "interop" / "mail_dkim.pl"

_HEAD = (
    b"From: Tim <tim@example.org>\r\nTo: ann@example.net\r\nSubject: hello\r\nDate: Mon, 1 Jun 2026 10:00:00 +0000\r\n"
)
_HEAD += b"Message-ID: <1@example.org>\r\n"

# Header section with its empty line, and body: what signers and verifiers have stumbled over.
MESSAGES: dict[str, tuple[bytes, bytes]] = {
    "plain": (_HEAD + b"\r\n", b"hello\r\n"),
    "no body": (_HEAD + b"\r\n", b""),
    "a body of empty lines": (_HEAD + b"\r\n", b"\r\n" * 9),
    "a body of white space": (_HEAD + b"\r\n", b" \t \r\n\t\r\n"),
    "trailing empty lines": (_HEAD + b"\r\n", b"\r\n\r\nhello\r\n\r\n \r\n\r\n"),
    "white space": (_HEAD + b"\r\n", b"  a \t b\t\r\n\t\tc  d \r\n x\r\n"),
    "dots": (_HEAD + b"\r\n", b".\r\n..\r\n.a\r\nb.\r\n.\r\n"),
    "8-bit": (_HEAD + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", "Grüße\r\n".encode()),
    "an old 8-bit header": (_HEAD.replace(b"hello", b"Gr\xfc\xdfe") + b"\r\n", b"hello\r\n"),
    "controls": (_HEAD + b"\r\n", bytes(range(1, 10)) + bytes([11, 12]) + bytes(range(14, 32)) + b"\x7f\r\n"),
    "folded": (
        _HEAD.replace(b"Subject: hello", b"Subject:\r\n  hello\r\n\t\t you \t there  ")
        + b"Cc:\r\n x@example.net\r\n\r\n",
        b"hello\r\n",
    ),
    "spaces around a colon": (_HEAD.replace(b"Subject: hello", b"SUBJECT   :hello   ") + b"\r\n", b"hello\r\n"),
    "empty fields": (_HEAD + b"Cc:\r\nReply-To: \r\n\r\n", b"hello\r\n"),
    "a very long header": (
        _HEAD + b"To: " + b",\r\n ".join([b"p%d@example.net" % number for number in range(900)]) + b"\r\n\r\n",
        b"hello\r\n",
    ),
    "a very long line": (_HEAD.replace(b"hello", b"h" * 60_000) + b"\r\n", b"x" * 100_000 + b"\r\n"),
    "fields twice": (
        _HEAD + b"Subject: again\r\nTo: b@example.net\r\nTo: c@example.net\r\nCc: d@e.org\r\n\r\n",
        b"x\r\n",
    ),
    "all kinds of fields": (
        _HEAD
        + b"Sender: tim@example.org\r\nReply-To: r@example.org\r\nIn-Reply-To: <0@x.org>\r\nReferences: <0@x.org>\r\n"
        b"List-Id: <l.example.org>\r\nList-Unsubscribe: <https://example.org/u>\r\nX-Mailer: x\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nResent-From: a@example.org\r\n"
        b"Resent-From: b@example.org\r\n"
        b"Resent-Date: Mon, 1 Jun 2026 10:00:00 +0000\r\n\r\n",
        b"hello\r\n",
    ),
    "a signature of somebody else": (
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=elsewhere.example; s=x;\r\n"
        b"\th=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n" + _HEAD + b"\r\n",
        b"hello\r\n",
    ),
    "10 MB": (_HEAD + b"\r\n", b"a line of  text that is neither long nor short\t, like others \r\n" * 163_840),
}


@cache
def _keys(domain: str) -> tuple[tuple[str, PrivateKey], ...]:
    return tuple((f"{kind}1", make_key(kind)) for kind in ("rsa", "ed25519"))


def make_signer(*domains: str, left_out: frozenset[bytes] = frozenset()) -> Signer:
    """Return who signs for *domains*, example.org if none is named, with RSA and Ed25519."""
    return Signer(JumpingClock(), domain_keys(*domains), left_out)


def private_keys(domain: str) -> list[tuple[str, str, PrivateKey]]:
    """Return selector, kind and key of each of the keys of *domain*."""
    return [(selector, kind_of(key), key) for selector, key in _keys(domain)]


def domain_keys(*domains: str) -> DomainKeys:
    """Return the keys of *domains*."""
    return {
        domain: [ScheduledKey(signing_key(domain, selector, key), 0.0) for selector, key in _keys(domain)]
        for domain in domains or ("example.org",)
    }


def records(*domains: str) -> dict[str, str]:
    """Return what stands in the DNS of *domains*, by name."""
    return {
        f"{selector}._domainkey.{domain}": record(key)
        for domain in domains or ("example.org",)
        for selector, key in _keys(domain)
    }


def verified(message: bytes, known: dict[str, str] | None = None) -> list[bool]:
    """Let dkimpy verify the signatures of domains in *known*; return its verdicts, in their order."""
    found = records() if known is None else known

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        text = found.get(name.decode().rstrip("."))
        return None if text is None else text.encode()

    section = message.partition(b"\r\n\r\n")[0]
    fields = re.findall(rb"(?im)^dkim-signature:(?:.*\r\n[ \t])*.*", section)
    domains = {name.partition("._domainkey.")[2] for name in found}
    verdicts = []
    for number, field in enumerate(fields):
        domain = re.search(rb"\bd=([^;\s]+)", field)
        if domain is not None and domain[1].decode() in domains:
            try:
                verdicts.append(dkim.DKIM(message).verify(number, dnsfunc=look_up))
            except dkim.DKIMException as error:
                raise AssertionError(f"dkimpy: {error}") from error
    return verdicts


def opendkim(folder: Path, messages: dict[str, bytes], known: dict[str, str] | None = None) -> dict[str, list[str]]:
    """Let opendkim verify; return what it says of each signature of a domain in *known*, by algorithm."""
    keys = folder / "keys"
    keys.write_text("".join(f"{name} {text}\n" for name, text in (records() if known is None else known).items()))
    configuration = folder / "opendkim.conf"
    configuration.write_text(f"Mode v\nTestPublicKeys {keys}\nBackground no\nSyslog no\nAlwaysAddARHeader yes\n")
    found = {}
    for number, (name, message) in enumerate(messages.items()):
        path = folder / f"{number}.eml"
        path.write_bytes(message)
        words = ["opendkim", "-x", str(configuration), "-t", str(path), "-vv"]
        said = subprocess.run(words, capture_output=True, timeout=120, check=False, env=_environment())
        text = said.stdout.decode("latin-1")
        found[name] = re.findall(r"dkim=(\w+) [^;]*header\.d=example\.org [^;]*header\.a=([\w-]+)", text)
    return {name: [f"{algorithm} {verdict}" for verdict, algorithm in rows] for name, rows in found.items()}


def perl(folder: Path, messages: dict[str, bytes], known: dict[str, str] | None = None) -> dict[str, list[str]]:
    """Let Mail::DKIM verify; return what it says of each signature of example.org."""
    keys = folder / "keys.txt"
    keys.write_text("".join(f"{name} {text}\n" for name, text in (records() if known is None else known).items()))
    paths = {}
    for number, (name, message) in enumerate(messages.items()):
        paths[name] = folder / f"perl-{number}.eml"
        paths[name].write_bytes(message)
    words = ["perl", str(_PERL), str(keys), *map(str, paths.values())]
    said = subprocess.run(words, capture_output=True, timeout=300, check=False, env=_environment())
    assert said.returncode == 0, said.stderr.decode("latin-1")
    rows = [line.split("\t") for line in said.stdout.decode("latin-1").splitlines()]
    return {name: [row[1] for row in rows if row[0] == str(path)] for name, path in paths.items()}


def _environment() -> dict[str, str]:
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin", "LC_ALL": "C"}
