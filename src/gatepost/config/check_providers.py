"""See whether what a route writes beside its provider has an effect, and whether its limits fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.config.locate import Key
from gatepost.config.routes import SmarthostRoute
from gatepost.sasl.client import MECHANISMS

if TYPE_CHECKING:
    from gatepost.config.check import Findings
    from gatepost.config.route_login import SenderLogin

__all__ = ["check_provider"]

_MECHANISMS = tuple(each.name for each in MECHANISMS)
_FOR_TOKENS = frozenset(each.name for each in MECHANISMS if each.takes_token)
_FOR_PASSWORDS = frozenset(each.name for each in MECHANISMS if not each.takes_token and not each.takes_certificate)
_SES_KEYS = ("secret_access_key", "secret_access_key_file")


def check_provider(route: SmarthostRoute, key: Key, findings: Findings) -> None:
    """Look at one route."""
    _credentials(route, key, findings)
    _limits(route, key, findings)
    preset = route.preset
    if route.message_stream and (preset is None or not preset.stream_field):
        findings.wrong((*key, "message_stream"), 'has no effect without provider = "postmark"; remove it')
    if preset is None:
        return
    has_own_host = _has_own_host(key, findings)
    if preset.tls and route.tls not in preset.tls and not has_own_host:
        findings.wrong((*key, "tls"), f'is not what {preset.title} offers; write "{preset.tls[0]}", or leave it out')
    has_access_key = any(getattr(route, name) is not None for name in _SES_KEYS)
    if route.region and has_own_host and not has_access_key:
        findings.wrong((*key, "region"), "has no effect beside host; keep one of the two")


def _credentials(route: SmarthostRoute, key: Key, findings: Findings) -> None:
    preset = route.preset
    for name in _SES_KEYS:
        if getattr(route, name) is None:
            continue
        if route.provider != "ses":
            findings.wrong((*key, name), 'has no effect without provider = "ses"; remove it')
        others = [*_SES_KEYS[: _SES_KEYS.index(name)], "password", "password_file", "token", "token_file"]
        if beside := [other for other in others if getattr(route, other) is not None]:
            findings.wrong((*key, name), f"stands beside {beside[0]}; keep one of the two")
    unknown = [each for each in route.mechanisms if each not in _MECHANISMS]
    if unknown and findings.is_written((*key, "mechanisms")):
        findings.wrong(
            (*key, "mechanisms"), f'has {unknown[0]}, which we do not log in with; write one such as "PLAIN"'
        )
    _carried(route, route, key, key, findings)
    for number, each in enumerate(route.logins):
        _carried(route, each, key, (*key, "logins", number), findings)
    if preset is None:
        return
    is_open = preset.needs_login and not _has_own_host(key, findings)
    has_secret = route.password_secret is not None or route.token_secret is not None or route.oauth is not None
    if is_open and not route.login_name and not has_secret:
        findings.wrong((*key, "login"), f"is missing; {preset.title} takes mail only from who logs in")


def _carried(
    route: SmarthostRoute, owner: SmarthostRoute | SenderLogin, key: Key, place: Key, findings: Findings
) -> None:
    """See that one of the mechanisms of *route* can carry the secret of *owner*, which stands at *place*."""
    allowed = frozenset(route.mechanisms)
    for names, fitting, what in (
        (("password_file", "password", *_SES_KEYS), _FOR_PASSWORDS, "password"),
        (("token_file", "token", "oauth"), _FOR_TOKENS, "token"),
    ):
        name = next((each for each in names if getattr(owner, each, None) is not None), None)
        if name is None or not allowed or allowed & fitting:
            continue
        if findings.is_written((*key, "mechanisms")):
            example = "XOAUTH2" if what == "token" else "PLAIN"
            findings.wrong((*key, "mechanisms"), f'has none that takes a {what}; add one such as "{example}"')
        elif route.preset is not None:
            other = "use OAuth" if what == "password" else "use password_file"
            findings.wrong((*place, name), f"has no effect: {route.preset.title} takes no {what}s; {other}")


def _has_own_host(key: Key, findings: Findings) -> bool:
    return findings.is_written((*key, "host")) or findings.is_written((*key, "hosts"))


def _limits(route: SmarthostRoute, key: Key, findings: Findings) -> None:
    """Of two limits for the same, the looser one never holds."""
    second, minute, day = route.messages_per_second, route.messages_per_minute, route.messages_per_day
    if second and minute:
        looser = "messages_per_second" if second * 60 >= minute else "messages_per_minute"
        _no_effect(looser, "messages_per_minute" if second * 60 >= minute else "messages_per_second", key, findings)
    for name, number, a_day in (("messages_per_second", second, 86_400), ("messages_per_minute", minute, 1440)):
        if number and day and number * a_day <= day:
            _no_effect("messages_per_day", name, key, findings)
            break


def _no_effect(looser: str, tighter: str, key: Key, findings: Findings) -> None:
    if findings.is_written((*key, looser)):
        findings.wrong((*key, looser), f"has no effect, as {tighter} lets less through; remove it, or lower it")
