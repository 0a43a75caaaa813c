"""What mypyc asks of the modules that it compiles, and does not see by itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
import tomllib
from pathlib import Path

import pytest

import gatepost

ROOT = Path(__file__).resolve().parents[2]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
LISTED: list[str] = WHEEL["hooks"]["custom"]["modules"]
# Their ends never wait for anybody.
HARMLESS_ENDS = {"asyncio.timeout", "asyncio.timeout_at", "flight.lock", "self._spool.content"}


class WaitsInHandlers(ast.NodeVisitor):
    """Collects the lines that wait while an exception may be handled."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self._depth = 0

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        depth, self._depth = self._depth, 0
        self.generic_visit(node)
        self._depth = depth

    def visit_Try(self, node: ast.Try) -> None:
        for each in [*node.body, *node.orelse]:
            self.visit(each)
        self._depth += 1
        for each in [*node.handlers, *node.finalbody]:
            self.visit(each)
        self._depth -= 1

    def visit_Await(self, node: ast.Await) -> None:
        if self._depth:
            self.lines.append(node.lineno)
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        if self._depth:
            self.lines.append(node.lineno)
        self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        for item in node.items:
            called = item.context_expr.func if isinstance(item.context_expr, ast.Call) else item.context_expr
            if self._depth or ast.unparse(called) not in HARMLESS_ENDS:
                self.lines.append(node.lineno)
        self.generic_visit(node)


def waits(source: str) -> list[int]:
    visitor = WaitsInHandlers()
    visitor.visit(ast.parse(source))
    return visitor.lines


@pytest.mark.parametrize("path", LISTED)
def test_nothing_waits_where_an_exception_is_handled(path: str) -> None:
    """What compiled coroutines handle is left in the thread while they wait: others would take it for theirs."""
    assert waits((ROOT / "src" / path).read_text(encoding="utf-8")) == []


def test_such_waits_are_found() -> None:
    assert waits("async def a():\n try:\n  await x\n except E:\n  await y\n finally:\n  await z") == [5, 7]
    assert waits("async def a():\n async with lock:\n  await x") == [2]
    assert waits("async def a():\n try:\n  pass\n finally:\n  async def b():\n   await x") == []


def test_nobody_extends_a_compiled_class_but_a_compiled_one() -> None:
    for found in pkgutil.walk_packages(gatepost.__path__, "gatepost."):
        if not found.name.endswith(("__main__", "migrations.env")):
            importlib.import_module(found.name)
    listed = {each.removesuffix(".py").replace("/", ".") for each in LISTED}
    classes = {
        each
        for name, module in list(sys.modules.items())
        if name.startswith("gatepost.")
        for each in vars(module).values()
        if inspect.isclass(each) and each.__module__.startswith("gatepost.")
    }

    assert not [
        f"{each.__module__}.{each.__name__} extends {above.__name__}"
        for each in classes
        for above in each.__mro__[1:]
        if above.__module__ in listed and each.__module__ not in listed
    ]
