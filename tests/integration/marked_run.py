"""A server through whose hands go secrets that are marked, in every way that secrets go; and what it left behind."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from identity_provider import IdentityProvider
from integration.talk import Talk, neighbours, soon
from login_service import LoginService
from next_hop import FakeNextHop
from secret_scan import files, processes, wait_for_begin
from servers import Authority, Gatepost, free_ports, wait_for
from tokens import AUDIENCE, ISSUER, Signer, jwks

__all__ = ["BROKEN", "MarkedRun"]

PASSWORD_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
TOKEN_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")
BROKEN = "broken on purpose"

# Python imports this by itself: as long as the file is there, checking a password fails as a bug of ours would.
_BREAK = f"""\
import os
from gatepost.identity import passwords

_matching = passwords.matching

def matching(check, password):
    if os.path.exists(os.environ["BREAK_WHILE"]):
        raise RuntimeError("{BROKEN}")
    return _matching(check, password)

passwords.matching = matching
"""


def mark() -> str:
    """Return a secret that nobody else has, with what is written in another way in many places."""
    return f'Zq{secrets.token_hex(8)} wörd+/"&%=Quartz'


class MarkedRun:
    """The server, the secrets, and what was seen of them.

    Attributes:
        secrets: by name, what nobody may find.
        places: by name, where they are looked for.
    """

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority
        self.context = authority.client_context()
        self.secrets: dict[str, str] = {}
        self.places: dict[str, bytes] = {}
        self.own = folder / "own"  # what operators keep themselves: secrets may stand there
        self.own.mkdir()
        self.signer = Signer("ES256")
        self.relay, self.service = FakeNextHop(), LoginService()

    def do(self) -> None:
        """Run everything."""
        with contextlib.ExitStack() as stack:
            self._background = stack.enter_context(neighbours())
            self._start_neighbours(stack)
            self.server = self._configured()
            self._make_accounts()
            stack.enter_context(self.server)
            tail = self._follow(stack)
            self._log_in_right_and_wrong()
            self._talk_nonsense()
            self._relay_and_ask()
            self._rotate_and_reload()
            self._break()
            self._look_around()
            tail.terminate()
            tail.wait(60)
        self.places |= {"replies": b"\n".join(Talk.heard), "output of tail": self._tailed.read_bytes()}
        self.places |= files(self.server.folder)

    # What the server is given.

    def _start_neighbours(self, stack: contextlib.ExitStack) -> None:
        self.secrets["relay"], self.secrets["service token"] = mark(), f"Zq{secrets.token_hex(12)}+/service=="
        self.secrets["service user"], self.secrets["static"] = mark(), mark()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.certificate, self.authority.key)
        self.relay = FakeNextHop(
            tls="starttls", context=context, mechanisms=("PLAIN", "LOGIN"), logins={"gatepost": self.secrets["relay"]}
        )
        self.service = LoginService(
            {"web@example.org": {"password": self.secrets["service user"], "facts": {"senders": ["web@example.org"]}}},
            token=self.secrets["service token"],
        )
        self.secrets["client"] = mark()
        self.provider = IdentityProvider(client=("gatepost", self.secrets["client"]))
        for each in (self.relay.start(), self.service.start(), self.provider.start()):
            self._background(each)
        stack.callback(lambda: self._background(self.provider.close()))
        stack.callback(lambda: self._background(self.service.stop()))
        stack.callback(lambda: self._background(self.relay.close()))

    def _file(self, name: str, content: str | bytes) -> Path:
        path = self.own / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
        return path

    def _configured(self) -> Gatepost:
        self._file("sitecustomize.py", _BREAK)
        keys = self._file("jwks.json", jwks(self.signer.public()))
        (admin,) = free_ports(1)
        self.metrics = f"http://127.0.0.1:{admin}/metrics"
        folder = self.folder / "gatepost"
        return Gatepost(
            folder,
            self.authority,
            routes=f"""\
[[route]]
name = "onward"
transport = "smarthost"
host = "127.0.0.1"
port = {self.relay.port}
ca_file = "{self.authority.ca}"
login = "gatepost"
password_file = "{self._file("relay", self.secrets["relay"])}"
""",
            tables=f"""\
[[store]]
type = "sqlite"
path = "{folder / "state" / "accounts.db"}"

[[store]]
type = "static"
login = "static@example.org"
secret_file = "{self._file("static", self.secrets["static"])}"

[[oauth.issuers]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks_file = "{keys}"

[[oauth.issuers]]
issuer = "{self.provider.issuer}"
audience = "{AUDIENCE}"
client_id = "gatepost"
client_secret_file = "{self._file("client", self.secrets["client"])}"
timeout = "20s"

[observe]
log_level = "debug"
audit_file = "{folder / "audit.log"}"

[admin]
listen = "127.0.0.1:{admin}"

[limits]
failed_logins_per_address = 0
failed_logins_per_network = 0
failed_logins_per_login = 0
""",
            auth=f'mechanisms = {json.dumps([*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS])}\nfailure_delay = "0s"\n',
            environment={
                "PYTHONPATH": str(self.own),
                "PYTHONFAULTHANDLER": "1",
                "BREAK_WHILE": str(self.own / "broken"),
            },
            top="workers = 2",
        )

    # Verbs.

    def verb(self, *words: str, stdin: str | None = None, shows: bool = False, code: int | None = 0) -> str:
        """Run a verb and keep what it said, but for standard output where it *shows* a new secret once."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gatepost", *words, "--config", str(self.server.config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **self.server.environment},
        )
        name = f"{' '.join(words)} ({process.pid})"
        # Whoever wants a secret waits for it, and so is still there.
        wait_for_begin(process)
        for place, content in processes(process.pid).items():
            self.places[f"{place} of {name}"] = content
        out, err = process.communicate(None if stdin is None else stdin.encode(), timeout=60)
        assert code is None or process.returncode == code, (words, out, err)
        self.places[f"errors of {name}"] = err
        if not shows:
            self.places[f"output of {name}"] = out
        return out.decode()

    def _add(self, login: str, what: str, *words: str, chosen: bool = False) -> str:
        """Add a credential; return its id."""
        if chosen:
            self.secrets[what] = mark()
            said = self.verb("credential", "add", login, "--secret-stdin", "--json", stdin=self.secrets[what])
        else:
            said = self.verb("credential", "add", login, *words, "--json", shows=True)
            self.secrets[what] = json.loads(said)["secret"]
        identifier: str = json.loads(said)["id"]
        return identifier

    def _make_accounts(self) -> None:
        for login in ("tim", "ann", "web-only", "bait"):
            self.verb("account", "add", f"{login}@example.org", "--sender", "*@example.org")
        self.identifier = self._add("tim@example.org", "generated")
        self._add("tim@example.org", "short", "--short", "--label", "printer")
        self._add("ann@example.org", "chosen", chosen=True)
        self._add("bait@example.org", "canary", "--canary")
        gone = self._add("ann@example.org", "revoked")
        self.verb("credential", "revoke", gone)
        self.secrets["weak"] = "Zqpassword1234"
        self.verb("credential", "add", "ann@example.org", "--secret-stdin", stdin=self.secrets["weak"], code=1)

    # What clients do.

    def _try(self, mechanism: str, login: str, secret: str, is_in: bool, sender: str = "") -> None:
        talk = Talk(self.server, self.context)
        answer = talk.log_in(mechanism, login, secret)
        assert answer.startswith(b"235" if is_in else b"535"), (mechanism, login, answer, self.server.output())
        if sender:
            assert talk.send(sender, "bob@example.net").startswith(b"250")
        talk.close()

    def _log_in_right_and_wrong(self) -> None:
        right = {"generated": "tim", "short": "tim", "chosen": "ann", "static": "static"}
        for mechanism in PASSWORD_MECHANISMS:
            for what, login in right.items():
                self._try(mechanism, f"{login}@example.org", self.secrets[what], is_in=True)
            for login in ("tim", "ann", "static", "nobody", "bait"):
                what = self.secrets[f"wrong, {login}, {mechanism}"] = mark()
                self._try(mechanism, f"{login}@example.org", what, is_in=False)
            for what, login in (("canary", "bait"), ("revoked", "ann"), ("generated", "ann")):
                self._try(mechanism, f"{login}@example.org", self.secrets[what], is_in=False)
        for mechanism in TOKEN_MECHANISMS:
            for what, login, is_in, claims in (
                ("good", "tim@example.org", True, {}),
                ("expired", "tim@example.org", False, {"exp": 1.0}),
                ("of nobody", "nobody@example.org", False, {}),
                ("foreign", "tim@example.org", False, {"iss": "https://elsewhere.example/"}),
            ):
                mine = f"Zq{secrets.token_hex(8)}"
                claims = {"sub": login, "exp": time.time() + 3600, "jti": mine, **claims}
                token = self.signer.token(time.time(), **claims).decode()
                self.secrets[f"token {what}, {mechanism}"] = token
                self.secrets[f"token {what}, {mechanism}, signature"] = token.rpartition(".")[2]
                self.secrets[f"token {what}, {mechanism}, claim"] = mine
                self._try(mechanism, login, token, is_in=is_in)

            for what, is_active in (("opaque", True), ("revoked", False)):
                token = self.secrets[f"token {what}, {mechanism}"] = self.provider.token(active=is_active)
                self._try(mechanism, "tim@example.org", token, is_in=is_active)

    def _talk_nonsense(self) -> None:
        """Bring secrets where they do not belong, as clients do that have lost the thread."""
        for number, how in enumerate(
            (
                [b"AUTH PLAIN %s"],
                [b"AUTH PLAIN", b"%s"],
                [b"AUTH LOGIN", b"%s", b"%s"],
                [b"AUTH LOGIN", base64.b64encode(b"tim@example.org"), b"%s"],
                [b"AUTH NTLM", b"%s", b"=%s"],
                [b"AUTH %s"],
                [b"AUTH CRAM-MD5", b"%s"],
                [b"AUTH CRAM-MD5", b"=%s"],
                [b"AUTH SCRAM-SHA-256 =%s"],
                [b"AUTH XOAUTH2 =%s"],
                [b"AUTH OAUTHBEARER =%s", b"=%s"],
                [b"%s"],
                [b"=%s"],
                [b"PASS %s"],
                [b"EHLO client.example.net", b"AUTH PLAIN =%s", b"=%s", b"*"],
                [b"MAIL FROM:<tim@example.org> AUTH=%s"],
                [b"AUTH PLAIN " + base64.b64encode(b"\0tim@example.org\0") + b"%s"],
            )
        ):
            secret = self.secrets[f"nonsense {number}"] = mark()
            encoded = base64.b64encode(secret.encode())
            talk = Talk(self.server, self.context)
            for line in how:
                talk.say(line.replace(b"=%s", encoded).replace(b"%s", secret.encode()))
            talk.close()
        long = self.secrets["long"] = mark() * 20
        self._try("PLAIN", "tim@example.org", long, is_in=False)

    def _relay_and_ask(self) -> None:
        self._try("PLAIN", "tim@example.org", self.secrets["generated"], is_in=True, sender="tim@example.org")
        wait_for("the next hop to have the mail", lambda: self.relay.accepted, seconds=60)
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "CRAM-MD5"):
            words = ("send", "--login", "tim@example.org", "--to", "bob@example.net", "--mechanism", mechanism)
            self.verb(*words, "--secret-stdin", stdin=self.secrets["generated"], code=None)
            wrong = self.secrets[f"sent, {mechanism}"] = mark()
            self.verb(*words, "--secret-stdin", stdin=wrong, code=1)
        # The next hop wants another password now.
        self.relay.logins["gatepost"] = "another"
        self._background(soon(self.relay.cut_all))
        self._try("PLAIN", "tim@example.org", self.secrets["generated"], is_in=True, sender="tim@example.org")
        wait_for("our login to be refused", lambda: b"route paused" in self.server.log.read_bytes(), seconds=60)

    def _rotate_and_reload(self) -> None:
        said = json.loads(self.verb("credential", "rotate", self.identifier, "--json", shows=True))
        self.secrets["rotated"] = said["secret"]
        for what in ("generated", "rotated"):
            self._try("SCRAM-SHA-256", "tim@example.org", self.secrets[what], is_in=True)
        token = self._file("service.token", self.secrets["service token"])
        config = self.server.config.read_text()
        url = f"http://127.0.0.1:{self.service.port}/"
        self.server.config.write_text(f'{config}\n[[store]]\ntype = "http"\nurl = "{url}"\ntoken_file = "{token}"\n')
        self.verb("reload")
        for mechanism in ("PLAIN", "LOGIN"):
            self._try(mechanism, "web@example.org", self.secrets["service user"], is_in=True)
            wrong = self.secrets[f"wrong, web, {mechanism}"] = mark()
            self._try(mechanism, "web@example.org", wrong, is_in=False)

    def _break(self) -> None:
        flag = self._file("broken", "")
        for what, login in (("rotated", "ann"), ("chosen", "tim")):
            talk = Talk(self.server, self.context)
            self.places[f"reply of a broken server, {what}"] = talk.log_in(
                "PLAIN", f"{login}@example.org", self.secrets[what]
            )
            talk.close()
        flag.unlink()
        pids = {row["pid"] for row in json.loads(self.verb("status", "--json"))["workers"]}
        os.kill(min(pids), signal.SIGSEGV)
        wait_for("another worker", lambda: len(self._workers() - {min(pids)}) == len(pids), seconds=60)
        self._try("PLAIN", "tim@example.org", self.secrets["rotated"], is_in=True)

    def _workers(self) -> set[int]:
        return {row["pid"] for row in json.loads(self.verb("status", "--json", code=None))["workers"] if row["pid"]}

    # What is seen.

    def _look_around(self) -> None:
        assert self.server.process is not None
        self.places |= processes(self.server.process.pid)
        with urllib.request.urlopen(self.metrics, timeout=60) as answer:
            self.places["metrics"] = answer.read()
        for words in (
            ("status", "--json"),
            ("health", "--json"),
            ("account", "list", "--json"),
            ("credential", "list", "--json"),
            ("credential", "show", self.identifier, "--json"),
            ("queue", "list", "--json"),
            ("route", "list", "--json"),
            ("check",),
            ("config", "show"),
            ("audit", "verify", str(self.server.folder / "audit.log")),
            ("backup", str(self.server.folder / "backup.tar")),
        ):
            self.verb(*words, code=None)

    def _follow(self, stack: contextlib.ExitStack) -> subprocess.Popen[bytes]:
        self._tailed = self.folder / "tail.output"
        with self._tailed.open("wb") as output:
            tail = subprocess.Popen(
                [sys.executable, "-m", "gatepost", "tail", "--level", "debug", "--config", str(self.server.config)],
                stdout=output,
                stderr=output,
                env={**os.environ, **self.server.environment, "PYTHONUNBUFFERED": "1"},
            )
        stack.callback(tail.wait)
        stack.callback(tail.kill)
        return tail
