"""The exceptions: the tree that is drawn is the tree that grows."""

from __future__ import annotations

import inspect
import re

import pytest

from gatepost import errors
from gatepost.errors import Cancelled, ConfigError, GatepostError, Malformed, TooLong, UnwantedInitialResponse

BRANCH = re.compile(r"^ {4}(?P<stem>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<also>\w+)\))?(?:\s+(?:-> )?(?P<fate>.*))?$")


def drawn() -> dict[str, tuple[str, str | None, str]]:
    """Read the drawing: each name with its parent, its other parent, and what becomes of it."""
    assert errors.__doc__ is not None
    path: list[str] = []
    tree: dict[str, tuple[str, str | None, str]] = {}
    for line in errors.__doc__.splitlines():
        match = BRANCH.match(line)
        if match is None:
            continue
        depth = len(match["stem"]) // 4
        del path[depth:]
        tree[match["name"]] = (path[-1] if path else "Exception", match["also"], match["fate"] or "")
        path.append(match["name"])
    return tree


def standing() -> dict[str, type[GatepostError]]:
    return {
        name: each
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == errors.__name__
    }


def test_the_tree_that_is_drawn_is_the_true_tree() -> None:
    tree = drawn()
    assert set(tree) == set(standing()) == set(errors.__all__)
    for name, (parent, also, _) in tree.items():
        bases = [base.__name__ for base in standing()[name].__bases__]
        assert bases == [parent, *([also] if also else [])], name


@pytest.mark.parametrize("error", [UnwantedInitialResponse(), Cancelled(), TooLong(), Malformed()], ids=repr)
def test_the_codes_that_are_drawn_are_the_codes_that_are_sent(error: Malformed) -> None:
    fate = drawn()[type(error).__name__][2]
    assert fate.startswith(str(error.code))
    drawn_code = re.match(r"\d{3} (\d\.\d\.\d)", fate)
    if drawn_code is not None:
        assert drawn_code[1] == error.enhanced
    # RFC 2034 §4: the classes of both codes are the same.
    assert error.enhanced[0] == str(error.code)[0]


def test_malformed_says_one_thing_to_the_log_and_another_to_the_client() -> None:
    error = Malformed("two From fields", enhanced="5.6.0", code=554, text="More than one From field")
    assert str(error) == error.reason == "two From fields"
    assert (error.code, error.enhanced, error.text) == (554, "5.6.0", "More than one From field")


def test_malformed_has_the_usual_code_unless_told() -> None:
    assert (Malformed().code, Malformed().enhanced, Malformed().text) == (501, "5.5.2", "")


def test_a_bad_configuration_names_each_problem_on_a_line() -> None:
    error = ConfigError("a:1: x: wrong, mend it", "a:2: y: wrong, mend it")
    assert str(error).splitlines() == list(error.problems)
