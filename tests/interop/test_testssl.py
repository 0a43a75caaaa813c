"""testssl.sh finds nothing worse than "low" on either port: old protocols, weak ciphers, known attacks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from servers import Authority, Gatepost, program

GOOD = {"OK", "INFO", "LOW"}
PATIENCE = 900


def findings(output: Path) -> dict[str, tuple[str, str]]:
    """Return severity and text of each finding."""
    return {each["id"]: (each["severity"], each["finding"]) for each in json.loads(output.read_text())}


@pytest.mark.timeout(PATIENCE + 30)
@pytest.mark.rfc("8996 §4")
@pytest.mark.rfc("9325 §4.2")
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_testssl_finds_nothing_above_low(tmp_path: Path, authority: Authority, tls: str):
    testssl = program("testssl", "testssl.sh")
    sandbox = f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{tmp_path / "sandbox"}"\n'
    limits = "[limits]\nconnections_per_address = 500\nconnections_per_minute = 0\n"
    output, said = tmp_path / "findings.json", tmp_path / "testssl.txt"
    with Gatepost(tmp_path / "server", authority, routes=sandbox, tables=limits) as server, said.open("wb") as file:
        port = server.starttls_port if tls == "starttls" else server.implicit_port
        # Protocols, categories of ciphers, forward secrecy, vulnerabilities; nothing about who signed the certificate.
        command = [testssl, "--quiet", "--color", "0", "--warnings", "batch", "-p", "-s", "-f", "-U"]
        command += ["--ip", "127.0.0.1", "--add-ca", str(authority.ca), "--jsonfile", str(output)]
        command += ["--starttls", "smtp"] if tls == "starttls" else []
        subprocess.run(
            [*command, f"localhost:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            timeout=PATIENCE,
            check=False,  # it ends with the number of what it could not find out, such as what speaks there
            cwd=tmp_path,
            # It would warn that the client's OpenSSL has no engine for GOST, which says nothing about the server.
            env={**os.environ, "NO_ENGINE": "true"},
        )
    found = findings(output)
    found.pop("service")  # that nothing speaks HTTP here is none
    assert not {name: each for name, each in found.items() if each[0] not in GOOD}, said.read_text()
    # It has come to its end, and really looked.
    assert {name: found[name][1] for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1")} == dict.fromkeys(
        ("SSLv2", "SSLv3", "TLS1", "TLS1_1"), "not offered"
    )
    assert found["TLS1_2"] == ("OK", "offered")
    assert found["TLS1_3"][0] == "OK"
    weak = {name: each[1] for name, each in found.items() if name.startswith("cipherlist_")}
    assert weak.pop("cipherlist_STRONG") == "offered"
    assert len(weak) >= 6
    assert set(weak.values()) == {"not offered"}
    assert {"heartbleed", "CCS", "secure_renego", "SWEET32", "FREAK", "LOGJAM", "LUCKY13", "RC4"} <= found.keys()
