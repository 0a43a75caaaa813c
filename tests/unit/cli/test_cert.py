"""`gatepost cert`: certificates to try with."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from gatepost.cli.main import gatepost


def run(*words: str) -> Result:
    return CliRunner().invoke(gatepost, words, catch_exceptions=False)


def shake_hands(folder: Path, name: str) -> None:
    """Let a strict client and a server with these files talk TLS, in memory."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname=name)
    server = server_context.wrap_bio(up, down, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()


def test_strict_clients_take_it_for_each_of_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    result = run(
        "cert", "dev", "--directory", str(folder), "--name", "mail.example.org", "--name", "192.0.2.7", "--json"
    )
    assert result.exit_code == 0
    assert {"localhost", "127.0.0.1", "::1", "mail.example.org", "192.0.2.7"} <= set(json.loads(result.stdout)["names"])
    for name in ("localhost", "127.0.0.1", "::1", "mail.example.org", "192.0.2.7"):
        shake_hands(folder, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(folder, "other.example.org")


def test_it_passes_the_rules_of_public_authorities(tmp_path: Path) -> None:
    run("cert", "dev", "--directory", str(tmp_path))
    leaf, authority = x509.load_pem_x509_certificates((tmp_path / "cert.pem").read_bytes())
    assert (tmp_path / "ca.pem").read_bytes() in (tmp_path / "cert.pem").read_bytes()
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    verifier = PolicyBuilder().store(Store([authority])).build_server_verifier(x509.DNSName("localhost"))
    assert verifier.verify(leaf, [])


def test_the_key_is_for_its_owner_only_and_nothing_else_is_left(tmp_path: Path) -> None:
    run("cert", "dev", "--directory", str(tmp_path))
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "cert.pem", "key.pem"]


def test_what_is_there_stays_without_force(tmp_path: Path) -> None:
    run("cert", "dev", "--directory", str(tmp_path))
    before = (tmp_path / "key.pem").read_bytes()
    result = run("cert", "dev", "--directory", str(tmp_path))
    assert result.exit_code == 1
    assert "give --force" in result.stderr
    assert (tmp_path / "key.pem").read_bytes() == before
    assert run("cert", "dev", "--directory", str(tmp_path), "--force").exit_code == 0
    assert (tmp_path / "key.pem").read_bytes() != before
    shake_hands(tmp_path, "localhost")


def test_a_name_that_cannot_stand_in_a_certificate_is_wrong_use(tmp_path: Path) -> None:
    result = run("cert", "dev", "--directory", str(tmp_path), "--name", "bücher.example")
    assert result.exit_code == 2
    assert "is no DNS name in ASCII" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_show_names_what_matters(tmp_path: Path) -> None:
    run("cert", "dev", "--directory", str(tmp_path), "--name", "mail.example.org")
    leaf, authority = json.loads(run("cert", "show", str(tmp_path / "cert.pem"), "--json").stdout)
    assert leaf["subject"] == "CN=gatepost development server"
    assert leaf["issuer"] == authority["subject"]
    assert "mail.example.org" in leaf["names"]
    assert leaf["days_left"] == 396
    assert len(leaf["sha256"].split(":")) == 32
    text = run("cert", "show", str(tmp_path / "cert.pem"))
    assert text.exit_code == 0
    assert "days left" in text.stdout


def test_show_without_a_file_shows_the_one_in_use(tmp_path: Path) -> None:
    run("cert", "dev", "--directory", str(tmp_path))
    path = tmp_path / "gatepost.toml"
    path.write_text('hostname = "mail.example.org"\n[tls]\ncertificate = "cert.pem"\n')
    assert len(json.loads(run("cert", "show", "--config", str(path), "--json").stdout)) == 2
    path.write_text('hostname = "mail.example.org"\n')
    result = run("cert", "show", "--config", str(path))
    assert result.exit_code == 1
    assert f"{path}:1: tls.certificate: is missing" in result.stderr


def test_show_of_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing\n")
    result = run("cert", "show", str(tmp_path / "x.pem"))
    assert result.exit_code == 1
    assert "holds no certificate" in result.stderr
