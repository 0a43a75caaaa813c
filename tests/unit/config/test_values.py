"""Durations, sizes, names, addresses and secrets, as they are written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gatepost.config import values
from gatepost.config.values import print_duration, print_size, read_secret
from gatepost.model.identity import Secret


def read(kind: Any, value: object, **context: object) -> Any:
    return TypeAdapter(kind).validate_python(value, context=context)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("4d", 345600),
        ("1w", 604800),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1h 30m", 5400),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert read(values.Duration, text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "5", "m", "5 m", "-5m", "5M", "5mm", 5, 5.0, True, None, ["5m"], "400d", "1e9s"])
def test_other_durations_are_refused(value: object) -> None:
    with pytest.raises(ValidationError, match=r"duration|year"):
        read(values.Duration, value)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=366)))
def test_durations_print_as_they_are_read(value: timedelta) -> None:
    printed = read(values.Duration, print_duration(value))
    assert abs(printed - value) <= timedelta(microseconds=500)


@pytest.mark.parametrize(
    ("value", "octets"), [(0, 0), (1000, 1000), ("25MiB", 26_214_400), ("1 kB", 1000), ("7", 7), ("2GiB", 1 << 31)]
)
def test_a_size_is_octets_or_has_a_unit(value: object, octets: int) -> None:
    assert read(values.Size, value) == octets


@pytest.mark.parametrize("value", [-1, 1.5, True, "", "MiB", "1.5MiB", "-1", "1 mib", None])
def test_other_sizes_are_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="size"):
        read(values.Size, value)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_sizes_print_as_they_are_read(value: int) -> None:
    assert read(values.Size, print_size(value)) == value


@pytest.mark.parametrize(
    ("text", "name"), [("mail.example.org", "mail.example.org"), ("Mail.Bücher.example", "mail.xn--bcher-kva.example")]
)
def test_a_hostname_is_read_as_it_goes_over_the_wire(text: str, name: str) -> None:
    assert read(values.Hostname, text) == name


@pytest.mark.parametrize(
    "text", ["mail", "localhost", "[127.0.0.1]", "", "a b.example", "mail.example.org\n", "-.example", "a..b"]
)
def test_other_hostnames_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read(values.Hostname, text)


@pytest.mark.parametrize(("text", "address"), [("*", "*"), ("127.0.0.1", "127.0.0.1"), ("0:0::1", "::1")])
def test_an_address_to_listen_on(text: str, address: str) -> None:
    assert read(values.Address, text) == address


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.1:25", "[::1]", "300.1.1.1"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="IP address"):
        read(values.Address, text)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Example.ORG", "example.org"),
        ("*.example.org", "*.example.org"),
        ("*", "*"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
    ],
)
def test_a_domain_pattern(text: str, pattern: str) -> None:
    assert read(values.DomainPattern, text) == pattern


@pytest.mark.parametrize("text", ["", "*.", "a.*.org", "**", "tim@example.org", ".example.org"])
def test_other_domain_patterns_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read(values.DomainPattern, text)


def test_a_relative_path_is_meant_from_the_folder_of_the_file() -> None:
    assert read(values.Location, "x/y", folder=Path("/etc/gatepost")) == Path("/etc/gatepost/x/y")
    assert read(values.Location, "/x", folder=Path("/etc/gatepost")) == Path("/x")


@pytest.mark.parametrize(
    ("octets", "secret"),
    [
        (b"geheim", b"geheim"),
        (b"geheim\n", b"geheim"),
        (b"geheim\r\n", b"geheim"),
        (b" a \n\n", b" a \n"),
        (b"\xff\x00", b"\xff\x00"),
    ],
)
def test_a_secret_file_loses_one_newline_and_nothing_else(octets: bytes, secret: bytes, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(octets)
    assert read_secret(path) == Secret(secret)


@pytest.mark.parametrize(("octets", "reason"), [(b"", "empty"), (b"\n", "empty"), (b"x" * 65537, "too long")])
def test_what_is_no_secret_is_refused(octets: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(octets)
    with pytest.raises(ValueError, match=reason):
        read_secret(path)


def test_a_folder_is_no_secret_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; name the file"):
        read_secret(tmp_path)


def test_a_secret_file_that_is_not_there_is_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; write the secret into it"):
        read_secret(tmp_path / "nothing")


def test_a_secret_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot read .*: Not a directory; make it readable"):
        read_secret(tmp_path / "file" / "secret")


def test_a_secret_shows_neither_in_the_value_nor_in_the_error() -> None:
    secret = read(values.SecretField, "geheim")
    assert "geheim" not in repr(secret)
    assert TypeAdapter(values.SecretField).dump_python(secret) == "***"
    with pytest.raises(ValidationError) as caught:
        read(values.SecretField, 123456)
    assert caught.value.errors(include_input=False)[0]["ctx"] == {
        "problem": "is no secret; write text that is not empty"
    }
