"""Keys of DKIM: what is taken for one, and what stands of it in the DNS."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gatepost.errors import Malformed
from gatepost.message import dkim_key
from gatepost.message.dkim_key import kind_of, make_key, read_key, record, strings, write_key
from gatepost.model.identity import Secret

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_comes_back_as_it_was_written(kind: str) -> None:
    key = make_key(kind)
    assert kind_of(key) == kind
    written = write_key(key)
    assert repr(written) == "***"
    assert record(read_key(written)) == record(key)


@pytest.mark.rfc("8301 §3.2")
def test_an_rsa_key_has_2048_bits_and_its_record_several_strings() -> None:
    text = record(make_key("rsa"))
    public = load_der_public_key(base64.b64decode(text.removeprefix("v=DKIM1; k=rsa; p=")))
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048
    assert [len(each) for each in strings(text)] == [255, len(text) - 255]
    assert "".join(strings(text)) == text


def test_a_short_record_is_one_string() -> None:
    assert len(strings(record(make_key("ed25519")))) == 1


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "no private key in PEM"),
        (b"nothing of the kind", "no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (make_key("rsa").private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"x")), "has a passphrase"),
        (ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, PLAIN), "another kind"),
    ],
)
def test_what_is_no_key_for_dkim_is_refused_and_not_quoted(octets: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason) as refused:
        read_key(Secret(octets))
    assert "MII" not in str(refused.value)


@pytest.mark.rfc("8301 §3.2")
@pytest.mark.parametrize(("least", "most", "is_taken"), [(2048, 2048, True), (2049, 4096, False), (1024, 2047, False)])
def test_only_keys_of_sizes_that_verifiers_take_are_taken(
    monkeypatch: pytest.MonkeyPatch, least: int, most: int, is_taken: bool
) -> None:
    monkeypatch.setattr(dkim_key, "_LEAST_BITS", least)
    monkeypatch.setattr(dkim_key, "_MOST_BITS", most)
    written = write_key(make_key("rsa"))
    if is_taken:
        assert kind_of(read_key(written)) == "rsa"
    else:
        with pytest.raises(Malformed, match=f"2048 bits; verifiers take {least} to {most}"):
            read_key(written)
