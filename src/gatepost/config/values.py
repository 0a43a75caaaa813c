"""Kinds of values in the configuration: durations, sizes, names, paths, secrets and files that hold one."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    Strict,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from gatepost.errors import Malformed
from gatepost.model.address import ascii_domain, is_qualified, parse_domain
from gatepost.model.identity import Secret
from gatepost.sasl.prepare import prepare_name

__all__ = [
    "Address",
    "DomainPattern",
    "Duration",
    "Flag",
    "Host",
    "HostAndPort",
    "Hostname",
    "Location",
    "Login",
    "Name",
    "NextHop",
    "SecretField",
    "SecretFile",
    "SecretFileField",
    "Size",
    "Table",
    "Whole",
    "check_host",
    "check_networks",
    "is_loopback",
    "print_duration",
    "print_size",
    "read_secret",
    "split_host",
    "wrong",
]

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]) ?)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SECONDS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"(\d+) ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?")
_BYTES = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1} | {
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LONGEST = dt.timedelta(days=366)
_SECRET_LIMIT = 65536


class Table(BaseModel):
    """A table of the file: keys that it does not have are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def wrong(text: str) -> PydanticCustomError:
    """Make the error of a field: *text* follows the name of its key, and says what to do."""
    return PydanticCustomError("gatepost", "{problem}", {"problem": text})


def _parse_duration(value: Any) -> dt.timedelta:
    if isinstance(value, dt.timedelta):
        return value
    if not isinstance(value, str) or _DURATION.fullmatch(value) is None:
        raise wrong('is no duration; write a number with its unit, such as "30s", "5m", "2h" or "4d"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if seconds > _LONGEST.total_seconds():
        raise wrong("is longer than a year; write a shorter time")
    return dt.timedelta(seconds=seconds)


def print_duration(value: dt.timedelta) -> str:
    """Print a duration as it is written in the configuration."""
    left = round(value.total_seconds() * 1000)
    parts = []
    for unit, seconds in _SECONDS.items():
        if unit == "w":
            continue
        number, left = divmod(left, round(seconds * 1000))
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts) or "0s"


def _parse_size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong('is no size; write octets as a number, or with a unit, such as "25MiB" or "64KiB"')
    return int(match[1]) * _BYTES[match[2] or "B"]


def print_size(value: int) -> str:
    """Print a size as it is best read in the configuration."""
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return str(value)


def _check_name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise wrong("is no name; write letters, digits, '-', '_' and '.', 63 at most")
    return value


def _check_login(value: str) -> str:
    """A login is compared as a store keeps it, however it is written here."""
    try:
        return prepare_name(value)
    except Malformed as error:
        raise wrong(f"is no login ({error.reason}); write a name or an address") from None


def _check_domain(value: str) -> str:
    if "@" in value:
        raise wrong("is an address or a pattern of addresses; write the domain alone, such as example.org")
    try:
        return ascii_domain(parse_domain(value))
    except Malformed as error:
        raise wrong(f"is no domain ({error.reason}); write one such as example.org") from None


def _check_hostname(value: str) -> str:
    domain = _check_domain(value)
    if not is_qualified(domain) or domain.startswith("["):
        raise wrong("is not fully qualified; write the whole name, such as mail.example.org")
    return domain


def _check_domain_pattern(value: str) -> str:
    if value == "*":
        return value
    if value.startswith("*."):
        return f"*.{_check_domain(value[2:])}"
    return _check_domain(value)


def check_host(value: str) -> str:
    """Return a name or address of a host as it is best written."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if "/" in value:
        raise wrong("is no host; write its name or address alone, such as smtp.example.net")
    try:
        port = split_host(value)[1]
    except ValueError:
        port = None
    if port is not None:
        raise wrong("has a port behind it; write the name or address alone, and the port in port")
    domain = _check_domain(value)
    if domain.startswith("["):
        raise wrong("is an address in brackets; write it without them")
    return domain


def split_host(value: str) -> tuple[str, int | None]:
    """Divide ``host`` or ``host:port``; an IPv6 address with a port stands in brackets.

    Raises:
        ValueError: the port is none.
    """
    host, colon, port = value.rpartition(":")
    if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        return value, None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(port)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check_next_hop(value: str) -> str:
    try:
        host, port = split_host(value)
    except ValueError:
        raise wrong("has no good port; write a name or address, or with a port: mx.example.net:2525") from None
    host = check_host(host)
    return host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_address(value: str) -> str:
    if value == "*":
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise wrong('is no IP address; write one such as 127.0.0.1 or ::1, or "*" for all') from None


def check_networks(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return networks as they are best written; an address is a network, too."""
    try:
        return tuple(str(ipaddress.ip_network(each)) for each in values)
    except ValueError:
        raise wrong('holds what is no network; write an IP address, or one such as "192.0.2.0/24"') from None


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    try:
        ipaddress.ip_address(host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host)
        if not (port.isascii() and port.isdigit() and int(port) <= 65535) or ("[" in host) != (":" in host):
            raise ValueError
    except ValueError:
        raise wrong("is no IP address with a port; write one such as 127.0.0.1:8025 or [::1]:8025") from None
    return value


def _locate(value: Path, info: ValidationInfo) -> Path:
    """A relative path is meant from the folder of the configuration file, wherever the server is started."""
    if "\0" in str(value):
        raise wrong("holds a NUL, which no path does; write it without")
    if value.parts[:1] and value.parts[0].startswith("~"):
        raise wrong('begins with "~", which means nothing here; write the whole path')
    folder = (info.context or {}).get("folder")
    return value if folder is None else folder / value


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that holds a secret, and the secret as it was when the configuration was loaded."""

    path: Path
    secret: Secret

    def __str__(self) -> str:
        return str(self.path)


def read_secret(path: Path) -> Secret:
    """Read the secret in the file at *path*, without the one newline that editors leave at its end.

    Raises:
        ValueError: it cannot be read, is empty or is no secret; the text says what to do.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_SECRET_LIMIT + 1)
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; name the file in it that holds the secret") from None
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; write the secret into it, or correct the path") from None
    except OSError as error:
        raise ValueError(
            f"cannot read {path}: {error.strerror}; make it readable for the user that runs gatepost"
        ) from None
    secret = octets.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise ValueError(f"{path} is empty; write the secret into it")
    if len(octets) > _SECRET_LIMIT:
        raise ValueError(f"{path} is too long for a secret; name the right file")
    return Secret(secret)


def _parse_secret_file(value: Any, info: ValidationInfo) -> SecretFile:
    if isinstance(value, SecretFile):
        return value
    if not isinstance(value, str) or not value:
        raise wrong("is no path; write the path of the file that holds the secret")
    path = _locate(Path(value), info)
    try:
        return SecretFile(path, read_secret(path))
    except ValueError as error:
        raise wrong(str(error)) from None


def _parse_secret(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        raise wrong("is no secret; write text that is not empty")
    return Secret(value.encode())


Duration = Annotated[
    dt.timedelta,
    # Not a plain validator: with one, pydantic passes over the bounds (ge, le) of a field.
    BeforeValidator(_parse_duration),
    PlainSerializer(print_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["30s", "5m", "4d"]}),
]
Size = Annotated[
    int,
    BeforeValidator(_parse_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}),
]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Name = Annotated[str, AfterValidator(_check_name)]
DomainPattern = Annotated[str, AfterValidator(_check_domain_pattern)]
Login = Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_login)]
Host = Annotated[str, AfterValidator(check_host)]
HostAndPort = Annotated[str, AfterValidator(_check_host_and_port)]
NextHop = Annotated[str, AfterValidator(_check_next_hop)]
Hostname = Annotated[str, AfterValidator(_check_hostname)]
Address = Annotated[str, AfterValidator(_check_address)]
Location = Annotated[Path, AfterValidator(_locate)]
SecretField = Annotated[
    Secret, PlainValidator(_parse_secret), PlainSerializer(lambda _: "***"), WithJsonSchema({"type": "string"})
]
SecretFileField = Annotated[
    SecretFile, PlainValidator(_parse_secret_file), PlainSerializer(str), WithJsonSchema({"type": "string"})
]
