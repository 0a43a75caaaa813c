"""Send mail without end; write mark and recipient of what got its 250 to standard output: ``mark/recipient``.

Usage: sender.py PORT CA_FILE LOGIN SECRET NAME SEED.  Whatever goes wrong, it connects anew.
"""

from __future__ import annotations

import os
import random
import smtplib
import ssl
import sys
import time


def message(login: str, mark: str, size: int) -> bytes:
    """Make a message that carries *mark* in its header and at its end."""
    line = b"x" * 76 + b"\r\n"
    head = f"From: {login}\r\nTo: bob@example.net\r\nSubject: crash\r\nX-Mark: {mark}\r\n\r\n".encode()
    return head + line * (size // len(line)) + f"end of {mark}\r\n".encode()


def main() -> None:
    """Send until somebody ends us."""
    port, ca_file, login, secret, name, seed = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca_file)
    chance = random.Random(int(seed))
    number = 0
    while True:
        try:
            with smtplib.SMTP("localhost", int(port), timeout=60) as client:
                client.starttls(context=context)
                client.login(login, secret)
                for _ in range(chance.randint(1, 40)):
                    number += 1
                    mark = f"{name}-{number}"
                    # Some are large enough for a file of their own.
                    size = chance.choice([200, 2_000, 4_000, 4_000, 4_000, 20_000, 150_000])
                    # On two routes: they may die between the two.
                    recipients = ["bob@example.net", "ann@example.com"][: chance.randint(1, 2)]
                    if not client.sendmail(login, recipients, message(login, mark, size)):
                        os.write(1, "".join([f"{mark}/{each}\n" for each in recipients]).encode())
        except (smtplib.SMTPException, OSError):
            time.sleep(chance.uniform(0.01, 0.2))


if __name__ == "__main__":
    main()
