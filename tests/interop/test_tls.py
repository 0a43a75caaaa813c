"""What openssl finds when it looks at our TLS: versions, certificate, nothing of value before it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from servers import Authority, Gatepost, program


@pytest.fixture(scope="module")
def gatepost(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gatepost]:
    """Return a running gatepost that keeps mail in a sandbox."""
    routes = '[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "sandbox"\n'
    with Gatepost(tmp_path_factory.mktemp("gatepost"), authority, routes) as server:
        yield server


def s_client(server: Gatepost, tls: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Connect, shake hands, say QUIT."""
    port = server.starttls_port if tls == "starttls" else server.implicit_port
    starttls = ["-starttls", "smtp"] if tls == "starttls" else []
    return subprocess.run(
        [
            *(program("openssl"), "s_client", "-connect", f"localhost:{port}", "-CAfile", str(server.authority.ca)),
            *("-verify_return_error", "-verify_hostname", "localhost", "-crlf", *starttls, *options),
        ],
        input="QUIT\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_current_versions_of_tls_are_spoken_with_a_certificate_that_verifies(
    tls: str, version: str, gatepost: Gatepost
) -> None:
    done = s_client(gatepost, tls, f"-tls{version}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verify return code: 0 (ok)" in done.stdout
    assert f"TLSv{version.replace('_', '.')}" in done.stdout


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("version", ["1", "1_1"])
@pytest.mark.rfc("8996 §4")
@pytest.mark.rfc("8997 §3")
def test_deprecated_versions_of_tls_are_refused_in_the_handshake(tls: str, version: str, gatepost: Gatepost) -> None:
    # At this security level the client itself would speak them.
    done = s_client(gatepost, tls, f"-tls{version}", "-cipher", "DEFAULT@SECLEVEL=0")

    assert done.returncode != 0
    assert "Cipher is (NONE)" in done.stdout
    assert "no peer certificate available" in done.stdout
