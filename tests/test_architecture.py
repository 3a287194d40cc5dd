"""Imports point downward, and methods are named where they are written. An import in a function counts like one at the
top of a file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import recam
from recam.pipeline.maker import makers
from recam.pipeline.refiner import refiner_steps
from recam.pipeline.segment_loss import segment_losses
from recam.pipeline.stages.segment_settings import SegmentSettings
from recam.pipeline.training import trainings

ROOT = Path(recam.__file__).parent

# A room knows itself and the rooms on the floors below it, never one beside it.
FLOORS = (
    ("base",),
    ("data",),
    ("scenes",),
    ("models",),
    ("methods",),
    ("training", "evaluation"),
    ("recipes", "runfolder"),
    ("recipe",),
    ("engine",),
    ("inference",),
    ("pipeline",),
    ("report", "export", "review"),
    ("studies",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
BASE = {
    "ahead",
    "cells",
    "crash_log",
    "digests",
    "errors",
    "events",
    "files",
    "frames",
    "interrupts",
    "labels",
    "option_values",
    "outcome",
    "preprocess",
    "progress",
    "registry",
    "settings",
    "tensors",
    "types",
    "visualize",
}
TOP = {"", "__main__", "cli", "cli_export", "cli_options"}
"""The package itself, and its command."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def room(module: str) -> str:
    first = module.split(".")[0]
    return "base" if first in BASE else "cli" if first in TOP else first


def imports(nodes: list[ast.stmt] | ast.AST) -> set[str]:
    """Our own modules named by import statements, without the package's name; ``""`` is the package itself."""
    found = set()
    for statement in [nodes] if isinstance(nodes, ast.AST) else nodes:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, "imports are absolute"
                # `from recam.data import check` names a module, `from recam.labels import IGNORE` a thing in one.
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name.removeprefix("recam.") in MODULES else str(node.module) for name in inner}
    return {name.removeprefix("recam").removeprefix(".") for name in found if name.split(".")[0] == "recam"}


def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module):
    own = room(module)
    assert own in FLOOR, f"recam.{module} belongs to no room: enter it in BASE, or its folder in FLOORS"
    for target in imports(tree(module)):
        other = room(target)
        assert other == own or FLOOR[other] < FLOOR[own], f"recam.{module} ({own}) may not import recam.{target}"


def test_modules_do_not_import_each_other_in_circles():
    def top_level(module):
        return imports([node for node in tree(module).body if isinstance(node, ast.Import | ast.ImportFrom)]) - {""}

    graph = {module: top_level(module) for module in MODULES if module}
    state = {}

    def visit(module, path):
        assert state.get(module) != "open", f"circle of imports: {' → '.join([*path, module])}"
        if module not in state:
            state[module] = "open"
            for target in graph.get(module, ()):
                visit(target, [*path, module])
            state[module] = "closed"

    for module in graph:
        visit(module, [])


def test_the_package_itself_imports_nothing_of_ours_at_once():
    """``import recam`` stays instant: names are looked up when first asked for."""
    assert not imports([node for node in tree("").body if isinstance(node, ast.Import | ast.ImportFrom)])


def test_the_reader_of_imports_sees_all_forms():
    inner = "def f():\n    from recam.data import check\n    from recam.labels import IGNORE"
    source = f"import recam.data.voc, numpy\nfrom recam import cli\n{inner}"
    assert imports(ast.parse(source)) == {"data.voc", "cli", "data.check", "labels"}


WITHOUT_TORCH = ("inference.onnx_predictor", "inference.onnx_session", "runfolder.store", "runfolder.summary")


def test_exported_networks_predict_and_runs_are_read_without_pytorch():
    """In a process where importing PyTorch fails."""
    lines = ["import sys", "sys.modules['torch'] = sys.modules['torchvision'] = None"]
    lines += [f"import recam.{module}" for module in WITHOUT_TORCH]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


METHODS = {*trainings, *makers, *refiner_steps, *segment_losses} - {SegmentSettings().loss}
NAMING = (
    "methods.",
    "pipeline.trainings.",
    "pipeline.makers.",
    "pipeline.refiners.",
    "pipeline.losses.",
    "studies.",
    "recipes",
)


def literals(module: str) -> list[tuple[int, str]]:
    """(line, text) of string literals that name a method; of the one that the package is called after those alone that
    something is compared with."""
    body = tree(module)
    compared = {
        id(inner)
        for node in ast.walk(body)
        if isinstance(node, ast.Compare | ast.MatchValue)
        for inner in ast.walk(node)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(body)
        if isinstance(node, ast.Constant) and node.value in METHODS and (node.value != "recam" or id(node) in compared)
    ]


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith(NAMING)])
def test_methods_are_named_where_they_are_written(module):
    """So a new one needs a file of its own and no other: readers of a run take titles, kinds and colours from it."""
    assert literals(module) == []
