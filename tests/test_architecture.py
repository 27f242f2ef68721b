"""The shape of the repository is a promise too: sizes, public names, and what importing costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import podvitals

ROOT = Path(__file__).parent.parent
FILE_LIMIT, FUNCTION_LIMIT, PUBLIC_NAMES_LIMIT = 400, 40, 20


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if "generated" not in path.parts)


def statements(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its signature and docstring: a long docstring is no long function."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources("src", "tests", "examples", "docs")}
    long = {path: lines for path, lines in lengths.items() if lines > FILE_LIMIT}
    assert not long


def test_no_function_is_longer_than_40_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {statements(node)}"
        for path in sources("src")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and statements(node) > FUNCTION_LIMIT
    ]
    assert not long


def test_every_stage_says_what_it_is() -> None:
    packages = [path for path in sources("src") if path.name == "__init__.py"]
    silent = [str(path.relative_to(ROOT)) for path in packages if not ast.get_docstring(ast.parse(path.read_text()))]
    assert packages
    assert not silent


def test_the_public_names_are_few_and_all_there() -> None:
    assert len(podvitals.__all__) <= PUBLIC_NAMES_LIMIT
    for name in podvitals.__all__:
        assert getattr(podvitals, name) is not None


def test_importing_podvitals_loads_no_heavy_library() -> None:
    heavy = "{'aiohttp', 'google.protobuf', 'h2', 'click', 'celpy', 'yaml', 'msgspec'}"
    program = f"import sys, podvitals; loaded = {heavy} & set(sys.modules); sys.exit(str(loaded) if loaded else 0)"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_help_and_version_load_neither_http2_nor_aiohttp_nor_protobuf() -> None:
    program = (
        "import sys; sys.argv = ['podvitals', sys.argv[1]]\n"
        "from podvitals.cli.main import main\n"
        "try: main()\n"
        "finally:\n"
        "    loaded = {'h2', 'aiohttp', 'google.protobuf', 'celpy', 'yaml'} & set(sys.modules)\n"
        "    assert not loaded, loaded\n"
    )
    for argument in ("--help", "version"):
        outcome = subprocess.run([sys.executable, "-c", program, argument], capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
        assert "podvitals" in outcome.stdout
