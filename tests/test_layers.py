"""The contracts of import-linter, seen to fail: an import that a package may not have breaks them, in every package."""

from __future__ import annotations

import ast
import graphlib
import itertools
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PROTECTED = [contract for contract in CONTRACTS if contract["type"] == "protected"]
LAYERS = [layer.split(" | ") for layer in next(one for one in CONTRACTS if one["type"] == "layers")["layers"]]
UNIX_ONLY = {"fcntl", "grp", "pwd", "resource", "termios"}
LOOSE = {"__init__", "__main__", "errors", "redaction"}
LONGEST = 400


def packages() -> Iterator[str]:
    """Every package and loose module of the product."""
    for path in sorted((ROOT / "src/crdbmesh").iterdir()):
        if (path / "__init__.py").is_file() or (path.suffix == ".py" and path.stem != "__init__"):
            yield path.stem


def module_of(package: str) -> str:
    """A module in which an import is put: the package's first, or the loose module itself."""
    modules = sorted(path.stem for path in (ROOT / "src/crdbmesh" / package).glob("*.py") if path.stem != "__init__")
    return f"crdbmesh.{package}.{modules[0]}" if modules else f"crdbmesh.{package}"


def misplaced() -> Iterator[tuple[str, str, str]]:
    """Imports that are not allowed: the module, what it imports, and what the report calls that."""
    for contract in PROTECTED:
        for name in contract["protected_modules"]:
            for package in packages():
                if f"crdbmesh.{package}" not in contract["allowed_importers"]:
                    # Of `azure`, which has no module of its own, a package that is there.
                    yield module_of(package), "azure.core" if name == "azure" else name, name
    for upper, lower in itertools.pairwise(LAYERS):
        for package in lower:
            yield module_of(package), module_of(upper[0]), module_of(upper[0])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What lint-imports says of a copy of the product with every misplaced import in it."""
    folder = tmp_path_factory.mktemp("misplaced")
    shutil.copytree(ROOT / "src/crdbmesh", folder / "crdbmesh", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for module, imported, _ in misplaced():
        path = (folder / module.replace(".", "/")).with_suffix(".py")
        with path.open("a") as file:
            file.write(f"\nimport {imported}\n")
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environ = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    done = subprocess.run(lint, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_an_import_of_a_third_party_or_of_an_upper_layer_breaks_a_contract_in_every_package(report: str) -> None:
    missed = [
        f"{module} -> {shown}"
        for module, _, shown in misplaced()
        if f"{module} -> {shown} (l." not in report and f"{module} -> \n  {shown} (l." not in report
    ]
    assert missed == []


def test_every_third_party_is_under_a_contract() -> None:
    graph = grimp.build_graph("crdbmesh", include_external_packages=True, cache_dir=None)
    outside = {name.partition(".")[0] for name in graph.modules} - {"crdbmesh", *sys.stdlib_module_names}
    assert outside == {name for contract in PROTECTED for name in contract["protected_modules"]}


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("crdbmesh", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()


def test_no_module_lies_loose() -> None:
    assert {path.stem for path in (ROOT / "src/crdbmesh").glob("*.py")} == LOOSE


@pytest.mark.parametrize("source", ["src", "simulator/src"])
def test_no_file_is_too_long(source: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / source).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > LONGEST} == {}


def test_no_module_of_the_product_needs_unix_to_be_imported() -> None:
    for path in (ROOT / "src/crdbmesh").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not UNIX_ONLY & set(names), path
