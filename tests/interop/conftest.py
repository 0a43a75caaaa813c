"""The way of a message with real programs at both ends: clients, gatepost, and a Postfix as next hop."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from servers import Authority, Gatepost, Postfix, free_ports, postfix

ISSUER = "https://login.example.org/"
LOGIN = "tim@sender.example"
USUAL = ["SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"]
BOUND = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]


class Issuer:
    """Who signs access tokens."""

    def __init__(self, folder: Path) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "interop"})
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [self.key.as_dict(private=False)]}))

    def token(self, login: str, *, lifetime: int = 600, key: ECKey | None = None) -> str:
        """Return an access token for *login* that ends in *lifetime* seconds."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "gatepost", "sub": login, "iat": now - 900, "exp": now + lifetime}
        return jwt.encode({"alg": "ES256", "kid": "interop"}, claims, key or self.key)


@pytest.fixture(scope="session")
def next_hop(authority: Authority) -> Iterator[Postfix]:
    """Return a running Postfix."""
    if missing := Postfix.missing():
        pytest.skip(missing)
    with postfix(authority) as server:
        yield server


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """Return an issuer that the server trusts."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session", params=["uvloop", "asyncio"])
def server(
    request: pytest.FixtureRequest,
    authority: Authority,
    next_hop: Postfix,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gatepost]:
    """Return a running gatepost with all mechanisms; it hands mail to the Postfix in clear and over TLS."""
    # XOAUTH2 has its own listeners, because curl never takes it where there is OAUTHBEARER, whatever it is told; what
    # binds has its own, because some clients fail where it is offered.
    of_their_own = [
        (f"xoauth2-{tls}", tls, ["XOAUTH2"], port)
        for tls, port in zip(("starttls", "implicit"), free_ports(2), strict=True)
    ]
    of_their_own += [
        (f"{name}-starttls", "starttls", mechanisms, port)
        for name, mechanisms, port in zip(("usual", "bound"), (USUAL, BOUND), free_ports(2), strict=True)
    ]
    gatepost = Gatepost(
        loop=request.param,
        folder=tmp_path_factory.mktemp("gatepost"),
        authority=authority,
        auth="""\
mechanisms = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "CRAM-MD5"]
failure_delay = "100ms"
""",
        routes=f"""\
[[route]]
name = "encrypted"
match = {{ recipient_domains = ["{next_hop.tls_domain}"] }}
transport = "smarthost"
host = "localhost"
port = {next_hop.port}
tls = "starttls"
ca_file = "{authority.ca}"

[[route]]
name = "clear"
transport = "smarthost"
host = "127.0.0.1"
port = {next_hop.port}
tls = "none"
""",
        tables="".join(
            f"""\
[[listener]]
name = "{name}"
address = "127.0.0.1"
port = {port}
tls = "{tls}"
mechanisms = {json.dumps(mechanisms)}

"""
            for name, tls, mechanisms, port in of_their_own
        )
        + f"""\
[limits]
connections_per_minute = 0
recipients_per_day = 0
messages_per_minute = 0
failed_logins_per_address = 0
failed_logins_per_network = 0
failed_logins_per_login = 0

[[oauth.issuers]]
issuer = "{ISSUER}"
audience = "gatepost"
jwks_file = "{issuer.jwks}"
""",
    )
    with gatepost:
        yield gatepost


@pytest.fixture(scope="session")
def secret(server: Gatepost) -> str:
    """Return the generated secret of an account that may write as its own login."""
    return server.add_account(LOGIN, LOGIN)
