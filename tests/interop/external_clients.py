"""Mail programs that log in with a client certificate (EXTERNAL), each driven the same way; see `interop.clients`."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

from interop.clients import Refused, Submission, Talk, implicit_tls, run
from servers import program

__all__ = ["EXTERNAL_CLIENTS", "Certified"]

SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Certified(Submission):
    """What to submit, and the certificate to log in with.

    Args:
        certificate: as PEM; its key is in the other file.
        key: as PEM.
    """

    certificate: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """Return a context that trusts *ca* alone, and shows the certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.certificate, self.key)
        return context


def curl(it: Certified) -> None:
    """curl: with a name it answers an empty challenge with that; without, with an empty line or ``=``."""
    run(
        [
            *(program("curl"), "--silent", "--show-error", "--ssl-reqd", "--cacert", str(it.ca)),
            *("--cert", str(it.certificate), "--key", str(it.key)),
            *("--url", f"{'smtp' if it.tls == 'starttls' else 'smtps'}://localhost:{it.port}/client.example"),
            *("--login-options", "AUTH=EXTERNAL", "--user", f"{it.login}:"),
            *("--mail-from", it.sender, "--mail-rcpt", it.recipient),
            *("--upload-file", str(it.write_message(crlf=True))),
        ],
        "Login denied",
        home=it.folder,
    )


def curl_at_once(it: Certified) -> None:
    """curl with ``--sasl-ir``: what it has to say comes in the AUTH command."""
    run(
        [
            *(program("curl"), "--silent", "--show-error", "--ssl-reqd", "--cacert", str(it.ca), "--sasl-ir"),
            *("--cert", str(it.certificate), "--key", str(it.key)),
            *("--url", f"{'smtp' if it.tls == 'starttls' else 'smtps'}://localhost:{it.port}/client.example"),
            *("--login-options", "AUTH=EXTERNAL", "--user", f"{it.login}:"),
            *("--mail-from", it.sender, "--mail-rcpt", it.recipient),
            *("--upload-file", str(it.write_message(crlf=True))),
        ],
        "Login denied",
        home=it.folder,
    )


def msmtp(it: Certified) -> None:
    """msmtp (GnuTLS, GNU SASL)."""
    settings = it.folder / "msmtprc"
    settings.touch(mode=0o600)
    settings.write_text(
        f"""\
account default
host localhost
port {it.port}
domain client.example
tls on
tls_starttls {"on" if it.tls == "starttls" else "off"}
tls_trust_file {it.ca}
tls_cert_file {it.certificate}
tls_key_file {it.key}
auth external
{f"user {it.login}" if it.login else ""}
from {it.sender}
"""
    )
    run(
        [program("msmtp"), f"--file={settings}", "--", it.recipient],
        "authentication failed",
        stdin=it.write_message(crlf=False),
        home=it.folder,
    )


def s_nail(it: Certified) -> None:
    """s-nail: its name comes as initial response."""
    pair = it.folder / "pair.pem"
    pair.write_bytes(it.certificate.read_bytes() + it.key.read_bytes())
    pair.chmod(0o600)
    scheme = "smtp" if it.tls == "starttls" else "smtps"
    user = it.login.replace("@", "%40")
    settings = [
        "v15-compat=yes",
        f"mta={scheme}://{user + '@' if user else ''}localhost:{it.port}",
        "smtp-auth=external" if it.login else "smtp-auth=externanon",
        *(["smtp-use-starttls"] if it.tls == "starttls" else []),
        "tls-verify=strict",
        "tls-ca-no-defaults",
        f"tls-ca-file={it.ca}",
        f"tls-config-pairs=Certificate={pair},PrivateKey={pair}",
        f"from={it.sender}",
        "hostname=client.example",
    ]
    body = it.folder / "body"
    body.write_bytes(b"hello\n")
    run(
        [
            *(program("s-nail"), "-:/", "-Sv15-compat", "-s", "hello"),
            *(word for each in settings for word in ("-S", each)),
            it.recipient,
        ],
        "535",
        stdin=body,
        home=it.folder,
    )


def gsasl(it: Certified) -> None:
    """GNU SASL's own program: its answer to the empty challenge is an empty line, or the name it should act as."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(implicit_tls(it)) if it.tls == "implicit" else it.port
        process = stack.enter_context(
            subprocess.Popen(
                [
                    *(program("stdbuf", "coreutils"), "-i0"),
                    *(program("gsasl"), "--smtp", "--quiet", "--mechanism=EXTERNAL"),
                    *(["--starttls", f"--x509-ca-file={it.ca}"] if it.tls == "starttls" else ["--no-starttls"]),
                    *([f"--x509-cert-file={it.certificate}", f"--x509-key-file={it.key}"]),
                    *([f"--authorization-id={it.login}"] if it.login else []),
                    f"--connect=localhost:{port}",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        stack.callback(process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(b"235 "):
                break
            if line.startswith(b"535 "):
                raise Refused(line.decode())
        else:
            raise RuntimeError(f"gsasl ended with {process.wait()}: {said!r}")
        Talk(process.stdout, process.stdin).submit(it)


EXTERNAL_CLIENTS: dict[str, Callable[[Certified], None]] = {
    "curl": curl,
    "curl-at-once": curl_at_once,
    "gsasl": gsasl,
    "msmtp": msmtp,
    "s-nail": s_nail,
}
