"""The rules for the tests themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_test_states_its_rule(path):
    """Every test has a docstring: the rule that it proves."""
    assert not [
        each.name for each in functions(path) if each.name.startswith("test_") and not ast.get_docstring(each)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_test_asserts(path):
    """Every test can fail: it asserts, expects an exception or a warning, fails by name, or calls what does so."""

    def checks(node: ast.AST) -> bool:
        if isinstance(node, ast.Assert):
            return True
        if not isinstance(node, ast.Call):
            return False
        called = ast.unparse(node.func)
        return called.startswith(
            ("pytest.raises", "pytest.warns", "pytest.fail", "assert_", "check", "run_state")
        ) or (called in asserting)

    asserting = {
        each.name for each in functions(path) if any(isinstance(node, ast.Assert) for node in ast.walk(each))
    }
    tests = [each for each in functions(path) if each.name.startswith("test_")]
    assert not [each.name for each in tests if not any(map(checks, ast.walk(each)))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_test_sleeps_on_the_real_clock(path):
    """`time.sleep` is nowhere, but for where it must raise; and no test is marked flaky or retried."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    sources = (ast.unparse(each) for each in functions(path))
    assert not [source for source in sources if "time.sleep(" in source and "BlockingError" not in source]
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"pytest.mark.flaky", "pytest.mark.rerun"}
