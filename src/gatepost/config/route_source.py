"""The key ``source_address`` of a route: which addresses of ours its connections come from."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from gatepost.config.locate import Key
from gatepost.config.values import wrong

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["SourceAddresses", "check_source"]

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def _check_addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        addresses = [ipaddress.ip_address(each) for each in values]
    except ValueError:
        raise wrong('holds what is no IP address; write one such as "192.0.2.25" or "2001:db8::25"') from None
    if any(each.is_unspecified or each.is_multicast for each in addresses):
        raise wrong("holds an address that nothing can be sent from; write one of this machine, or remove it")
    if len({each.version for each in addresses}) < len(addresses):
        raise wrong("holds several addresses of a family; write one of IPv4, one of IPv6, or one of each")
    return tuple(map(str, addresses))


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


SourceAddresses = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), AfterValidator(_check_addresses)]


def check_source(addresses: tuple[str, ...], hosts: Iterable[str], key: Key, findings: Findings) -> None:
    """See whether the addresses are of this machine, and can reach all *hosts*."""
    for each in addresses:
        try:
            with socket.socket(_FAMILIES[ipaddress.ip_address(each).version], socket.SOCK_STREAM) as end:
                end.bind((each, 0))
        except OSError:
            findings.odd(key, f"holds {each}, which is no address of this machine now")
    for host in hosts:
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            continue
        if addresses and all(ipaddress.ip_address(each).version != version for each in addresses):
            findings.wrong(key, f"cannot reach {host}; add an address of IPv{version}")
