"""A client that says what became of each message it sent."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass

__all__ = ["LOGIN", "SECRET", "Mailer", "message"]

LOGIN = "tim@example.org"
SECRET = "one long secret, chosen by nobody"


def message(mark: str, size: int = 200) -> bytes:
    """Make a message that carries *mark* in its header and at its end."""
    line = b"x" * 76 + b"\r\n"
    head = f"From: {LOGIN}\r\nTo: ann@example.net\r\nSubject: hello\r\nX-Mark: {mark}\r\n\r\n".encode()
    return head + line * (size // len(line)) + f"end of {mark}\r\n".encode()


@dataclass
class Mailer:
    """Sends over implicit TLS, each message in a session of its own.

    Args:
        port: of the server.
        context: whom to trust.
    """

    port: int
    context: ssl.SSLContext

    def send(self, mark: str, size: int = 200, *, declared: int | None = None) -> str:
        """Send a message, *declared* as so large; return the last reply, as ``250 2.0.0`` or whatever it was.

        Raises:
            OSError: the server is away.
        """
        with smtplib.SMTP_SSL("localhost", self.port, context=self.context, timeout=60) as client:
            client.login(LOGIN, SECRET)
            code, text = client.mail(LOGIN, [] if declared is None else [f"SIZE={declared}"])
            if code != 250:
                return f"{code} {text.decode().split(' ', 1)[0]}"
            client.rcpt("ann@example.net")
            try:
                code, text = client.data(message(mark, size))
            except smtplib.SMTPDataError as error:
                code, text = error.smtp_code, error.smtp_error
            return f"{code} {text.decode().split(' ', 1)[0]}"
