"""Other people's mail programs, each driven the same way: log in with one mechanism and submit one message."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import select
import smtplib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import IO

import aiosmtplib

from interop.exchanges import EXCHANGES
from interop.mail_programs import git_send_email, mutt, net_smtp, nodemailer, s_nail
from interop.submission import SECONDS, TOKENS, Client, Refused, Submission, run
from servers import program

__all__ = ["CLIENTS"]


def swaks(it: Submission) -> None:
    """Swaks (Perl); it ends the last line itself."""
    data = it.folder / "data"
    data.write_bytes(it.message.removesuffix(b"\r\n"))
    run(
        [
            *(program("swaks"), "--server", f"localhost:{it.port}", "--helo", "client.example"),
            *(["--tls"] if it.tls == "starttls" else ["--tls-on-connect"]),
            *("--tls-verify", "--tls-ca-path", str(it.ca)),
            *(
                "--auth",
                *([it.mechanism] if it.mechanism else []),
                "--auth-user",
                it.login,
                "--auth-password",
                it.secret,
            ),
            *("--from", it.sender, "--to", it.recipient, "--data", f"@{data}"),
        ],
        "535",
        home=it.folder,
    )


def curl(it: Submission) -> None:
    """curl; its tokens come without an initial response."""
    secret = ["--oauth2-bearer", it.secret] if it.mechanism in TOKENS else []
    run(
        [
            *(program("curl"), "--silent", "--show-error", "--ssl-reqd", "--cacert", str(it.ca)),
            *("--url", f"{'smtp' if it.tls == 'starttls' else 'smtps'}://localhost:{it.port}/client.example"),
            *(["--login-options", f"AUTH={it.mechanism}"] if it.mechanism else []),
            *("--user", f"{it.login}:{'' if secret else it.secret}", *secret),
            *("--mail-from", it.sender, "--mail-rcpt", it.recipient),
            *("--upload-file", str(it.write_message(crlf=True))),
        ],
        "Login denied",
        home=it.folder,
    )


def msmtp(it: Submission) -> None:
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
auth {it.mechanism.lower() or "on"}
user {it.login}
password {it.secret}
from {it.sender}
"""
    )
    run(
        [program("msmtp"), f"--file={settings}", "--", it.recipient],
        "authentication failed",
        stdin=it.write_message(crlf=False),
        home=it.folder,
    )


class Talk:
    """A session played by hand over two streams."""

    def __init__(self, read: IO[bytes], write: IO[bytes]) -> None:
        self.read = read
        self.write = write

    def say(self, line: bytes) -> None:
        """Send a line."""
        self.write.write(line + b"\r\n")
        self.write.flush()

    def hear(self, wanted: bytes) -> list[bytes]:
        """Read one reply; its code must begin with *wanted*."""
        lines = []
        while True:
            line = self.read.readline()
            if not line:
                raise RuntimeError(f"the connection ended after {lines!r}, wanted {wanted!r}")
            lines.append(line)
            if line[3:4] == b" ":
                break
        if line.startswith(b"535"):
            raise Refused(line.decode())
        if not line.startswith(wanted):
            raise RuntimeError(f"wanted {wanted!r}, got {lines!r}")
        return lines

    def ask(self, line: bytes, wanted: bytes) -> list[bytes]:
        """Send a line and read the reply."""
        self.say(line)
        return self.hear(wanted)

    def log_in(self, it: Submission) -> None:
        """Run the mechanism's exchange."""
        exchange = EXCHANGES[it.mechanism](it.login, it.secret)
        initial = next(exchange)
        self.say(b" ".join([b"AUTH", it.mechanism.encode(), *([] if initial is None else [base64.b64encode(initial)])]))
        while (reply := self.hear(b"")[-1]).startswith(b"334 "):
            response = exchange.send(base64.b64decode(reply[4:], validate=False))
            assert response is not None
            self.say(base64.b64encode(response))
        if not reply.startswith(b"235 "):
            raise RuntimeError(f"AUTH: {reply!r}")

    def submit(self, it: Submission) -> None:
        """Send the message, one command at a time."""
        # RFC 6152: the body is 8-bit.
        self.ask(f"MAIL FROM:<{it.sender}> BODY=8BITMIME SIZE={len(it.message)}".encode(), b"250 2.1.0")
        self.ask(f"RCPT TO:<{it.recipient}>".encode(), b"250 2.1.5")
        self.ask(b"DATA", b"354")
        stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in it.message.split(b"\r\n"))
        self.ask(stuffed + b".", b"250 2.0.0")
        self.ask(b"QUIT", b"221")


def s_client(it: Submission) -> None:
    """openssl s_client, the session played by hand."""
    with subprocess.Popen(
        [
            *(program("openssl"), "s_client", "-quiet", "-connect", f"localhost:{it.port}", "-CAfile", str(it.ca)),
            *("-verify_return_error", "-verify_hostname", "localhost"),
            *(["-starttls", "smtp", "-name", "client.example"] if it.tls == "starttls" else []),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            talk = Talk(process.stdout, process.stdin)
            if it.tls == "implicit":  # else the greeting was for s_client
                talk.hear(b"220 ")
            assert any(it.mechanism in line.decode().split() for line in talk.ask(b"EHLO client.example", b"250 "))
            talk.log_in(it)
            talk.submit(it)
        finally:
            process.kill()


def gsasl(it: Submission) -> None:
    """GNU SASL's own program: it logs in, then hands lines through.  It knows STARTTLS, but not implicit TLS."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(implicit_tls(it)) if it.tls == "implicit" else it.port
        process = stack.enter_context(
            subprocess.Popen(
                [
                    # It waits for its input and then reads one line of it: what a buffer holds would wait for ever.
                    *(program("stdbuf", "coreutils"), "-i0"),
                    *(program("gsasl"), "--smtp", "--quiet"),
                    *([f"--mechanism={it.mechanism}"] if it.mechanism else []),
                    # It takes no plain SCRAM in TLS, unless told not to bind.
                    *([] if it.mechanism.endswith("-PLUS") else ["--no-cb"]),
                    *([f"--priority=NORMAL:-VERS-ALL:+VERS-{it.tls_version}"] if it.tls_version else []),
                    *(["--starttls", f"--x509-ca-file={it.ca}"] if it.tls == "starttls" else ["--no-starttls"]),
                    *(f"--authentication-id={it.login}", f"--password={it.secret}"),
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
        for line in process.stdout:  # what either side says
            if line.startswith(b"235 "):
                break
            if line.startswith(b"535 "):
                raise Refused(line.decode())
        else:
            raise RuntimeError(f"gsasl ended with {process.wait()}")
        Talk(process.stdout, process.stdin).submit(it)


@contextlib.contextmanager
def implicit_tls(it: Submission) -> Iterator[int]:
    """Wrap one connection to a port of ours into TLS, for a program that has none; yield that port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def carry(inner: socket.socket, outer: ssl.SSLSocket) -> None:
            # Both ways in one thread: before Python 3.13 no two may use a TLS connection at the same time.
            outer.setblocking(False)
            while True:
                readable, _, _ = select.select([inner, outer], [], [])
                try:
                    while octets := outer.recv(65536):
                        inner.sendall(octets)
                    return
                except ssl.SSLWantReadError:
                    pass
                if inner in readable:
                    octets = inner.recv(65536)
                    if not octets:
                        return
                    outer.setblocking(True)
                    outer.sendall(octets)
                    outer.setblocking(False)

        def serve() -> None:
            with contextlib.suppress(OSError):
                inner, _ = listener.accept()
                with (
                    inner,
                    socket.create_connection(("localhost", it.port)) as plain,
                    it.context.wrap_socket(plain, server_hostname="localhost") as outer,
                ):
                    carry(inner, outer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def smtplib_client(it: Submission) -> None:
    """Python's smtplib; it has PLAIN, LOGIN and CRAM-MD5, and takes other exchanges."""
    kind = smtplib.SMTP if it.tls == "starttls" else smtplib.SMTP_SSL
    options = {} if it.tls == "starttls" else {"context": it.context}
    # Its own context manager says QUIT in any case, and lets the 421 after three failures hide the 535 before.
    with contextlib.closing(
        kind("localhost", it.port, local_hostname="client.example", timeout=SECONDS, **options)
    ) as client:
        if it.tls == "starttls":
            client.starttls(context=it.context)
        client.ehlo()
        client.user, client.password = it.login, it.secret
        own = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login, "CRAM-MD5": client.auth_cram_md5}
        try:
            if it.mechanism:
                assert it.mechanism in client.esmtp_features["auth"].split()
                client.auth(it.mechanism, own.get(it.mechanism) or answers(it))
            else:
                client.login(it.login, it.secret)
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code != 535:
                raise
            raise Refused(str(error)) from error
        client.sendmail(it.sender, [it.recipient], it.message, mail_options=["BODY=8BITMIME"])
        client.quit()


def answers(it: Submission) -> Callable[[bytes | None], str | None]:
    """Return the exchange as smtplib wants it: a function of the challenge."""
    exchange = EXCHANGES[it.mechanism](it.login, it.secret)

    def answer(challenge: bytes | None = None) -> str | None:
        response = next(exchange) if challenge is None else exchange.send(challenge)
        return None if response is None else response.decode()

    return answer


def aiosmtplib_client(it: Submission) -> None:
    """aiosmtplib."""

    async def send() -> None:
        client = aiosmtplib.SMTP(
            hostname="localhost",
            port=it.port,
            local_hostname="client.example",
            use_tls=it.tls == "implicit",
            start_tls=it.tls == "starttls",
            tls_context=it.context,
            timeout=SECONDS,
        )
        async with client:
            await client.ehlo()
            log_in = {
                "": client.login,
                "PLAIN": client.auth_plain,
                "LOGIN": client.auth_login,
                "CRAM-MD5": client.auth_crammd5,
                "XOAUTH2": client.auth_xoauth2,
            }[it.mechanism]
            transport = client.transport
            assert transport is not None
            try:
                await log_in(it.login, it.secret)
                await client.sendmail(it.sender, [it.recipient], it.message, mail_options=["BODY=8BITMIME"])
                await client.quit()
            except aiosmtplib.SMTPAuthenticationError as error:
                if error.code != 535:
                    raise
                raise Refused(str(error)) from error
            finally:
                transport.abort()  # asyncio's TLS would close its socket after the loop has ended

    asyncio.run(send())


# What each has on Debian 12: its curl is built without GNU SASL, its swaks knows neither SCRAM nor tokens.
CLIENTS = {
    "swaks": Client(swaks, ("PLAIN", "LOGIN", "CRAM-MD5")),
    "curl": Client(curl, ("PLAIN", "LOGIN", "CRAM-MD5", *TOKENS)),
    "msmtp": Client(msmtp, ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", *TOKENS)),
    "gsasl": Client(gsasl, ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")),
    "s_client": Client(s_client, tuple(EXCHANGES)),
    "smtplib": Client(smtplib_client, tuple(EXCHANGES)),
    "aiosmtplib": Client(aiosmtplib_client, ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")),
    "mutt": Client(mutt, ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", *TOKENS), composes=True),
    "s-nail": Client(s_nail, ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"), composes=True),
    "git": Client(git_send_email, ("PLAIN", "LOGIN", "CRAM-MD5"), composes=True),
    "net-smtp": Client(net_smtp, ("PLAIN", "LOGIN", "CRAM-MD5")),
    "nodemailer": Client(nodemailer, ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")),
}
