"""The package is light to import, has no cycles, and shows its whole surface on one page."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sgfd

SOURCE = Path(sgfd.__file__).parent
HEAVY = {"torch_geometric", "scipy", "lightning", "matplotlib", "sklearn", "pandas"}
# What every part may import, and what each may besides: a layer stands only on what is below it.
COMMON = {"_checks", "_tensor_checks"}
LAYERS = {
    "_batch": set(),
    "_chain": set(),
    "_functional": set(),
    "_rows": {"_functional"},
    "_seed": set(),
    "_mapped": set(),
    "_features": {"_functional", "_mapped", "_rows"},
    "_top_items": {"_features"},
    "_labels": set(),
    "_behavior": set(),
    "_beside": {"_features"},
    "_pseudo_labels": {"_beside", "_features"},
    "_student": {"_functional"},
    "_teacher": {"_chain", "_functional"},
    "_means": {"_functional"},
    "_terms": {"_functional", "_means"},
    "_multilabel": {"_functional", "_terms"},
    "_hierarchy": {"_terms"},
    "_said": set(),
    "_loss": {"_means", "_said", "_terms"},
    "_lessons": {"_features", "_loss", "_means", "_teacher"},
    "_sources": {"_features", "_rows"},
    "_reuse": {"_features", "_functional", "_student"},
    "_targets": {"_hierarchy", "_labels", "_loss", "_multilabel", "_terms"},
    "_label_features": {"_targets"},
    "_problems": set(),
    "_check_scores": {"_functional", "_problems"},
    "_substitute": {"_student", "_teacher"},
    "_looked_for": {"_functional"},
    "_inputs": {"_looked_for", "_problems"},
    "_student_watch": {"_inputs"},
    "_watch": {"_functional", "_inputs", "_looked_for", "_problems", "_student_watch"},
    "_adapt": {"_functional"},
    "_projections": {"_functional", "_problems"},
    "graph": {"_functional"},
    "data": {"_batch", "_features", "_functional", "_labels", "_rows"},
    "backbones": {
        "_batch",
        "_features",
        "_functional",
        "_seed",
        "_sources",
        "_top_items",
        "graph",
    },
    "evaluation": {"_beside", "_features", "_functional", "_top_items", "data"},
    "distributed": {"_batch", "_loss", "_top_items", "evaluation"},
    "_extra": set(),
    "_files": set(),
    "_named": set(),
    "_fingerprint": {"_features", "_named"},
    "_saved": {"_extra", "_files"},
    "_described": {
        "_features",
        "_fingerprint",
        "_loss",
        "_named",
        "_seed",
        "_sources",
        "_student",
        "_teacher",
    },
    "_restore": {
        "_described",
        "_features",
        "_loss",
        "_problems",
        "_projections",
        "_saved",
        "_sources",
        "_student",
        "_substitute",
        "_teacher",
    },
    "_saving": {
        "_described",
        "_features",
        "_loss",
        "_restore",
        "_saved",
        "_student",
        "_substitute",
        "_teacher",
    },
    "export": {
        "_distilled",
        "_extra",
        "_features",
        "_files",
        "_fingerprint",
        "_functional",
        "_sources",
        "_student",
        "_top_items",
    },
    "plots": {"_features", "_lessons", "_sources", "_teacher", "evaluation"},
    "release": {
        "_chain",
        "_functional",
        "_loss",
        "_seed",
        "_student",
        "_teacher",
        "data",
        "evaluation",
    },
}


def imports_of(path: Path) -> set[str]:
    """First-level names under ``sgfd`` that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "sgfd":
                modules = [f"sgfd.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        found |= {m.split(".")[1] for m in modules if m.startswith("sgfd.")}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_layer_stands_only_on_those_below(path):
    part = part_of(path)
    if part in LAYERS:
        assert imports_of(path) - {part} <= LAYERS[part] | COMMON


def test_there_is_no_cycle_between_parts():
    graph = {}
    for path in FILES:
        if part_of(path) not in ("__init__", "__main__"):
            graph.setdefault(part_of(path), set()).update(imports_of(path) - {part_of(path)})
    while graph:
        free = {part for part, needs in graph.items() if not needs & graph.keys()}
        assert free, f"cycle among {sorted(graph)}"
        graph = {part: needs for part, needs in graph.items() if part not in free}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 250


def test_importing_sgfd_loads_nothing_heavy():
    code = (
        "import sys, torch; before = set(sys.modules); "
        "import sgfd; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & HEAVY


def public_names():
    for name in (
        "sgfd",
        "sgfd.backbones",
        "sgfd.data",
        "sgfd.distributed",
        "sgfd.evaluation",
        "sgfd.export",
        "sgfd.graph",
        "sgfd.plots",
        "sgfd.release",
        "sgfd.training",
    ):
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            ours = getattr(value, "__module__", "").startswith("sgfd")
            if (
                not key.startswith("_")
                and ours
                and (inspect.isclass(value) or inspect.isfunction(value))
            ):
                yield pytest.param(value, id=f"{name}.{key}")


@pytest.mark.parametrize("value", list(public_names()))
def test_every_public_name_and_method_is_documented(value):
    said = inspect.getdoc(value)
    assert said
    if inspect.isfunction(value):
        assert ">>> " in said  # and tests/test_docstrings.py runs it
    if inspect.isclass(value):
        for key, method in vars(value).items():
            if not key.startswith("_") and inspect.isfunction(method):
                assert inspect.getdoc(method), key


def test_subpackages_are_there_without_an_import_of_their_own():
    code = "import sgfd; print(sgfd.backbones.BM3.__name__, sgfd.data.Dataset.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["BM3", "Dataset"]
    with pytest.raises(AttributeError, match="module 'sgfd' has no attribute 'no_such_thing'"):
        sgfd.no_such_thing  # noqa: B018


def test_python_m_sgfd_prints_versions_backend_and_install_lines():
    done = subprocess.run(
        [sys.executable, "-m", "sgfd"], capture_output=True, text=True, check=True
    )
    for word in ("sgfd", "torch", "torch-geometric", "torch-sparse", "CUDA", "kernel backend"):
        assert any(line.startswith(word) for line in done.stdout.splitlines())
    assert sgfd.__version__ in done.stdout


def test_the_install_line_names_this_torch_and_cuda(monkeypatch):
    from sgfd.graph._backend import kernels_line

    monkeypatch.setattr("torch.__version__", "2.8.1+cu126")
    monkeypatch.setattr("torch.version.cuda", "12.6")
    assert kernels_line().endswith("torch-2.8.0+cu126.html")
    monkeypatch.setattr("torch.version.cuda", None)
    assert kernels_line().endswith("torch-2.8.0+cpu.html")
