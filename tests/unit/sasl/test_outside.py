"""Mechanisms of other packages: loaded by where they stand, or told apart why not."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

from gatepost.errors import ConfigError
from gatepost.sasl.mechanism import Mechanism, Needs
from gatepost.sasl.outside import mechanism_names, mechanism_of
from gatepost.sasl.plain import PLAIN
from gatepost.sasl.steps import Denied, Granted, ask, in_thread, vouch

MODULE = """\
from gatepost.sasl.mechanism import Mechanism, Needs
def exchange(initial, context):
    yield
GOOD = Mechanism("ACME-1_X", exchange, Needs.NAME)
PLAIN = Mechanism("PLAIN", exchange, Needs.NAME)
SMALL = Mechanism("acme", exchange, Needs.NAME)
LONG = Mechanism("A" * 21, exchange, Needs.NAME)
EMPTY = Mechanism("", exchange, Needs.NAME)
LINES = Mechanism("ACME\\n", exchange, Needs.NAME)
TEXT = "GOOD"
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Return the name of a package that is not ours."""
    name = f"acme_{abs(hash(request.node.name)):x}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").write_text(MODULE)
    (package / "broken.py").write_text("def x(:\n")
    (package / "needy.py").write_text("import nothing_of_this_name.at_all\n")
    (package / "failing.py").write_text("raise RuntimeError('no license')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_names_of_ours_are_ours():
    assert mechanism_of("PLAIN") is PLAIN
    assert mechanism_names(["PLAIN", "LOGIN"]) == ("PLAIN", "LOGIN")


def test_one_from_elsewhere_is_loaded_when_it_is_asked_for_and_not_before(outside):
    assert f"{outside}.good" not in sys.modules
    found = mechanism_of(f"{outside}.good:GOOD")
    assert (found.name, found.needs) == ("ACME-1_X", Needs.NAME)
    assert mechanism_of(f"{outside}.good:GOOD") is found
    assert mechanism_names([f"{outside}.good:GOOD", "PLAIN"]) == ("ACME-1_X", "PLAIN")


@pytest.mark.rfc("4422 §3.1")
@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("{}.nowhere:GOOD", "there is no module {}.nowhere; install it beside gatepost, or correct it"),
        ("{}_else:GOOD", "there is no module {}_else; install it beside gatepost, or correct it"),
        ("{}.needy:GOOD", "there is no module nothing_of_this_name; install nothing_of_this_name, which it needs"),
        ("{}.broken:GOOD", "which cannot be loaded (SyntaxError: "),
        ("{}.failing:GOOD", "which cannot be loaded (RuntimeError: no license); mend or remove it"),
        ("{}.good:BETTER", "but BETTER is not there; name the Mechanism in {}.good"),
        ("{}.good:TEXT", "but TEXT is no gatepost.sasl.mechanism.Mechanism; name the Mechanism in {}.good"),
        ("{}.good:PLAIN", "which calls itself PLAIN, as ours does; remove it"),
        ("{}.good:SMALL", "whose name 'acme' is none of SASL; it must have 20 upper-case letters"),
        ("{}.good:LONG", "is none of SASL"),
        ("{}.good:EMPTY", "is none of SASL"),
        ("{}.good:LINES", "is none of SASL"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_what_to_do(outside, where, problem):
    written = where.format(outside)
    with pytest.raises(ConfigError) as error:
        mechanism_of(written)
    assert str(error.value).startswith(f'names "{written}", ')
    assert problem.format(outside) in str(error.value)


def test_an_exchange_of_many_tokens_fits_into_the_steps(play, stores):
    """A ticket goes to a library in a thread, and what that says to the client, as often as it takes."""

    class Library:
        def __init__(self) -> None:
            self.seen: list[bytes] = []

        def step(self, token: bytes) -> bytes | None:
            self.seen.append(token)
            return None if len(self.seen) == 3 else b"more after " + token

    def exchange(initial, context):
        library = Library()
        token = (yield from ask(b"")) if initial is None else initial
        while (answer := (yield from in_thread(functools.partial(library.step, token)))) is not None:
            token = yield from ask(answer)
        identity = yield from vouch(library.seen[0].decode())
        return Granted(identity, final=b"well done") if identity is not None else Denied("nobody here")

    ticket = Mechanism("TICKET", exchange, Needs.NAME)
    stores.add("tim", "secret")
    assert play(ticket, b"tim", b"second", b"third", b"") == Granted(stores.identity("tim"), final=b"well done")
    assert play.challenges == [b"more after tim", b"more after second", b"well done"]
    assert play(ticket, b"eve", b"second", b"third") == Denied("nobody here")
