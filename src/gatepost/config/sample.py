"""Print the annotated configuration: every key with its meaning and default; ``config/gatepost.toml`` is its output.

Keys that an operator sets are live, all others are commented out at their default.
"""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gatepost.config.keys import is_list, kinds, names
from gatepost.config.postgres import PostgresStore
from gatepost.config.route_match import Match
from gatepost.config.routes import DiscardRoute, LmtpRoute, SandboxRoute, SmarthostRoute
from gatepost.config.schema import Config
from gatepost.config.stores import DovecotStore, HttpStore, LdapStore, PasswdFileStore, SqliteStore, StaticStore
from gatepost.config.values import print_duration, print_size

__all__ = ["sample"]

_WIDTH = 100
_SIZES = frozenset({"message_bytes", "header_bytes", "line_bytes", "inline_bytes", "reserve_bytes", "memory_bytes"})
_LIVE = frozenset(
    {
        "hostname",
        "tls.certificate",
        "tls.key",
        "route.name",
        "route.transport",
        "route.host",
        "route.tls",
        "route.login",
        "route.password_file",
    }
)
_HEAD = """\
gatepost.toml: the configuration of gatepost.

Lines that begin with "#" and a key show its default, or an example where there is none.
Durations are written as "30s", "5m", "2h", "4d", sizes as octets or as "64KiB", "25MiB".
Paths are meant from the folder of this file.

Environment variables override keys: GATEPOST_QUEUE__GIVE_UP_AFTER=4d, GATEPOST_ROUTE__0__HOST=….
Look whether it is right with: gatepost check --config FILE"""


def sample() -> str:
    """Return the text of the annotated configuration."""
    lines = [*_comment(_HEAD), ""]
    tables: list[str] = []
    for name, field in Config.model_fields.items():
        if name == "route":
            tables += _routes(field)
        elif name == "store":
            tables += _stores(field)
        elif names(field.annotation) or (is_list(field.annotation) and names(_element(field.annotation))):
            tables += _table(name, field)
        else:
            lines += _key("", name, field)
    return "\n".join([*lines, *tables]).rstrip("\n") + "\n"


def _element(annotation: Any) -> Any:
    return kinds(annotation)[0].__args__[0]


def _model(annotation: Any) -> Any:
    return _element(annotation) if is_list(annotation) else kinds(annotation)[0]


def _table(path: str, field: FieldInfo) -> Iterator[str]:
    """A table, or one element of a list of tables, with its keys; tables below it follow."""
    model = _model(field.annotation)
    is_element = is_list(field.annotation)
    yield ""
    yield from _comment(str(field.description))
    header = f"[[{path}]]" if is_element else f"[{path}]"
    yield f"#{header}" if is_element else header
    below: list[str] = []
    for name, each in model.model_fields.items():
        if names(each.annotation) or (is_list(each.annotation) and names(_element(each.annotation))):
            below += _table(f"{path}.{name}", each)
        else:
            yield from _key(path, name, each)
    yield from below
    if path == "listener":
        yield from _second_listener(field)


def _second_listener(field: FieldInfo) -> Iterator[str]:
    yield ""
    yield "#[[listener]]"
    for name, value in field.default[0].model_dump(exclude_unset=True).items():
        yield f"#{name} = {_toml(name, value)}"


def _routes(field: FieldInfo) -> Iterator[str]:
    yield ""
    yield from _comment(str(field.description))
    yield "[[route]]"
    yield from _route(SmarthostRoute, "route", {"name": '"smarthost"', "transport": '"smarthost"'})
    yield ""
    yield from _comment("A route that keeps mail instead of sending it; its other keys are those above.")
    yield "#[[route]]"
    yield from _route(SandboxRoute, "sandbox", {"name": '"sandbox"', "transport": '"sandbox"'}, leave_out="match")
    yield ""
    yield from _comment(
        "A route to what keeps mail for its users, by LMTP; its other keys are those of a smart host, with port 24."
    )
    yield "#[[route]]"
    for name, value in (("name", '"mailboxes"'), ("transport", '"lmtp"'), ("socket", None)):
        yield from _key("lmtp", name, LmtpRoute.model_fields[name], value)
    yield ""
    yield from _comment("A route that throws mail away, for tests; its other keys are those above.")
    yield "#[[route]]"
    yield from _route(DiscardRoute, "discard", {"name": '"nowhere"', "transport": '"discard"'}, leave_out="match")


def _stores(field: FieldInfo) -> Iterator[str]:
    yield ""
    yield from _comment(str(field.description))
    models: tuple[Any, ...] = (
        SqliteStore,
        PostgresStore,
        PasswdFileStore,
        StaticStore,
        HttpStore,
        LdapStore,
        DovecotStore,
    )
    for number, model in enumerate(models):
        if number:
            yield ""
        yield "#[[store]]"
        for name, each in model.model_fields.items():
            if names(each.annotation):
                yield ""
                yield from _comment(str(each.description))
                yield f"#[store.{name}]"
                for key, below in _model(each.annotation).model_fields.items():
                    yield from _key(f"store.{name}", key, below)
            else:
                yield from _key("store", name, each)


def _route(model: Any, path: str, values: dict[str, str], leave_out: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name == "match" and not leave_out:
            yield from _comment(str(field.description))
            for key, each in Match.model_fields.items():
                yield from _comment(f"  {key}: {each.description}")
            yield '#match = { recipient_domains = ["example.org", "*.example.org"] }'
        elif name == "logins":
            yield from _comment(str(field.description))
            example = 'login = "…", password_file = "/etc/gatepost/smarthost.password"'
            yield f'#logins = [{{ sender_domains = ["example.org"], {example} }}]'
        elif name != leave_out and not names(field.annotation):
            yield from _key(path, name, field, values.get(name))
    for name, field in model.model_fields.items():
        if name != "match" and names(field.annotation):
            yield ""
            yield from _comment(str(field.description))
            yield f"#[route.{name}]"
            for key, below in _model(field.annotation).model_fields.items():
                yield from _key(f"route.{name}", key, below)


def _key(path: str, name: str, field: FieldInfo, value: str | None = None) -> Iterator[str]:
    yield from _comment(str(field.description))
    if value is None:
        value = _value(name, field)
    mark = "" if f"{path}.{name}".lstrip(".") in _LIVE else "#"
    yield f"{mark}{name} = {value}"


def _value(name: str, field: FieldInfo) -> str:
    if field.examples:
        return _toml(name, field.examples[0])
    if field.default is PydanticUndefined and field.default_factory is not None:
        return "587"  # the port of a route, the one default that hangs on another key and has no example
    return _toml(name, field.default)


def _toml(name: str, value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() if name in _SIZES:
            return f'"{print_size(value)}"'
        case int() | float():
            return str(value)
        case dt.timedelta():
            return f'"{print_duration(value)}"'
        case list() | tuple():
            return f"[{', '.join(_toml(name, each) for each in value)}]"
        case _:
            return f'"{value}"'


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n"):
        indent = "  " if paragraph.startswith("  ") else ""
        for line in textwrap.wrap(paragraph, _WIDTH, subsequent_indent=indent * 2) or [""]:
            yield f"# {line}".rstrip()
