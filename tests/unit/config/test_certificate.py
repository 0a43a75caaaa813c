"""Names of a certificate, and reading a chain (its flaws are in tests/bad_configs)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.config.certificate import Flaw, read_chain
from pems import make_pems


@pytest.mark.rfc("9525 §6.3")
@pytest.mark.parametrize(
    ("file", "hostname", "covered"),
    [
        ("cert.pem", "mail.example.org", True),
        ("cert.pem", "example.org", False),
        ("both.pem", "mail.example.org", True),
        ("both.pem", "a.mail.example.org", False),
        ("both.pem", "example.org", False),
        ("both.pem", "", False),
        ("nameless.pem", "test", False),
    ],
)
def test_a_wildcard_stands_for_one_label(file: str, hostname: str, covered: bool, tmp_path: Path) -> None:
    make_pems(tmp_path)
    assert read_chain(tmp_path / file)[0].covers(hostname) is covered


def test_a_chain_is_read_in_order(tmp_path: Path) -> None:
    make_pems(tmp_path)
    path = tmp_path / "chain.pem"
    path.write_bytes((tmp_path / "cert.pem").read_bytes() + (tmp_path / "other-name.pem").read_bytes())
    assert [each.names for each in read_chain(path)] == [("mail.example.org",), ("smtp.example.net",)]
    assert [each.key for each in read_chain(path)] == ["EC 256", "EC 256"]


def test_a_file_without_certificates_is_a_flaw(tmp_path: Path) -> None:
    make_pems(tmp_path)
    with pytest.raises(Flaw, match="holds no certificate"):
        read_chain(tmp_path / "key.pem")
    with pytest.raises(Flaw, match="No such file"):
        read_chain(tmp_path / "nowhere.pem")
