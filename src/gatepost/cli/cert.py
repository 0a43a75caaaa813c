"""``gatepost cert``: make a certificate to try gatepost with, and look at the one in use."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from pathlib import Path

import click

from gatepost.cli.group import Group
from gatepost.cli.options import config_path_option, json_option
from gatepost.cli.output import Told, print_row, print_rows, remark

__all__ = ["cert"]

_DAYS = 397
_FILES = ("ca.pem", "cert.pem", "key.pem")


@click.group(cls=Group)
def cert() -> None:
    """Make a certificate for development, or show the one in use."""


@cert.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("certs"),
    show_default=True,
    help="Where to put it.",
)
@click.option("--name", "names", multiple=True, metavar="NAME", help="One more DNS name or IP address it is for.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@json_option
def dev(directory: Path, names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Make a certificate for development: for localhost, this machine's name and each --name.

    Writes ca.pem for clients to trust, cert.pem and key.pem for [tls].
    """
    standing = [name for name in _FILES if (directory / name).exists()]
    if standing and not force:
        raise Told(f"{directory / standing[0]} exists already; give --force to replace it")
    wanted = list(dict.fromkeys(["localhost", "127.0.0.1", "::1", *_machine_names(), *names]))
    texts = _make(wanted)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, octets in zip(_FILES, texts, strict=True):
            _write(directory / name, octets, 0o600 if name == "key.pem" else 0o644)
    except OSError as error:
        raise Told(f"{error.filename}: {error.strerror}") from None
    if not as_json:
        remark("For development only: nobody else trusts it.")
    print_row({**{name.removesuffix(".pem"): str(directory / name) for name in _FILES}, "names": wanted}, as_json)


def _machine_names() -> list[str]:
    """Names of this machine that can stand in a certificate."""
    return [
        name
        for name in (socket.gethostname().lower(), socket.getfqdn().lower())
        if name.isascii() and all(part.strip("-") for part in name.split(".")) and len(name) < 64
    ]


def _make(names: list[str]) -> tuple[bytes, bytes, bytes]:
    """Return the authority's certificate, the server's with it, and the server's key; the authority's key is lost."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            try:
                general.append(x509.DNSName(name))
            except ValueError:
                raise click.BadParameter(f"{name!r} is no DNS name in ASCII", param_hint="--name") from None

    def titled(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    end = start + dt.timedelta(days=_DAYS)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    # Two authorities must not share a name: a client that trusts both would try the wrong key.
    authority_name = titled(f"gatepost development {os.urandom(4).hex()}")

    def begin(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
        )

    def usage(*, is_authority: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not is_authority,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=is_authority,
            crl_sign=is_authority,
            encipher_only=False,
            decipher_only=False,
        )

    authority = (
        begin(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(is_authority=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        begin(titled("gatepost development server"), key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return authority.public_bytes(pem), leaf.public_bytes(pem) + authority.public_bytes(pem), private


def _write(path: Path, octets: bytes, mode: int) -> None:
    """Write a file that nobody sees half written, and that never has a wider mode than *mode*."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(octets)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@cert.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_path_option
@json_option
def show(file: Path | None, config_path: Path, as_json: bool) -> None:
    """Show subject, names, expiry and fingerprint of the certificates in FILE, or of those in use."""
    from gatepost.config.certificate import Flaw, read_chain

    chain = []
    for path in [file] if file is not None else _in_use(config_path):
        try:
            chain += read_chain(path)
        except Flaw as flaw:
            raise Told(f"{path}: {flaw}") from None
    now = dt.datetime.now(dt.UTC)
    rows = [
        {
            "subject": each.subject,
            "names": each.names,
            "issuer": each.issuer,
            "not_before": each.not_before,
            "not_after": each.not_after,
            "days_left": (each.not_after - now).days,
            "key": each.key,
            "serial": each.serial,
            "sha256": each.fingerprint,
        }
        for each in chain
    ]
    if as_json:
        print_rows(rows, list(rows[0]), as_json=True)
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        print_row(row, as_json=False)


def _in_use(config_path: Path) -> list[Path]:
    from gatepost.config.load import load

    config = load(config_path, os.environ)
    if config.tls.certificate is None:
        raise Told(
            config.source.problem(("tls", "certificate"), "is missing; name a file, or give one to this command")
        )
    return [config.tls.certificate, *(each.certificate for each in config.tls.pairs)]
