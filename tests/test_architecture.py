"""Imports point downward: which room of the package may know which. An import in a function counts like one at the top of a file."""

import ast
from pathlib import Path

import pytest

import recam

ROOT = Path(recam.__file__).parent
BASE = {"base"}

BASE_MODULES = (
    "errors",
    "labels",
    "types",
    "registry",
    "files",
    "cells",
    "crash_log",
    "digests",
    "ahead",
    "interrupts",
    "tensors",
    "progress",
)
# The room of a module is that of the longest prefix of its name.
ROOMS = {
    **dict.fromkeys(BASE_MODULES, "base"),
    "data": "data",
    "data.loader": "loader",
    "data.transforms": "loader",
    "data.views": "views",
    "data.images": "views",
    "data.opening": "views",
    "data.palettes": "views",
    "data.large_photos": "views",
    "models": "models",
    "methods": "methods",
    "training": "training",
    "metrics": "metrics",
    "boundary": "metrics",
    "pipeline": "pipeline",
    "pipeline.store": "store",
    "pipeline.manifest": "store",
    "pipeline.records": "store",
    "pipeline.tallies": "store",
    "pipeline.costs": "store",
    "pipeline.supervision": "store",
    "report": "report",
    "report.pictures": "rendering",
    "review": "review",
    "export": "export",
    "export.model": "model export",
    "export.card": "model export",
    "export.tracing": "model export",
    "recipes": "recipes",
    "cli": "cli",
    "__main__": "entry",
}

MAY_IMPORT = {
    "base": BASE,
    # Decoding and resizing, by NumPy and Pillow alone, for where PyTorch is not installed.
    "views": BASE | {"views"},
    "loader": BASE | {"loader", "views"},
    "data": BASE | {"data", "loader", "views"},
    "models": BASE | {"models"},
    "methods": BASE | {"methods", "models"},
    "training": BASE | {"training", "loader"},
    "metrics": BASE | {"metrics", "methods"},
    # Turns arrays into pictures; knows neither runs nor data sets.
    "rendering": BASE,
    # What readers of a run know of it, so it knows nothing of how one is made.
    "store": BASE | {"store"},
    "pipeline": BASE | {"pipeline", "store", "data", "loader", "views", "models", "methods", "training", "metrics", "rendering", "report"},
    "report": BASE | {"report", "rendering", "metrics", "store"},
    # The review page shows the photos themselves, makes masks of maps as a run does, tries new photos with a run's models, and writes
    # recipes that a run takes: it stands on the pipeline, and nothing but the command line stands on it.
    "review": BASE | {"review", "store", "data", "views", "methods", "models", "pipeline", "rendering", "facade"},
    # Masks are read, and the photos that they belong to are found, by the catalog of the run's data set.
    "export": BASE | {"export", "metrics", "store", "data", "views"},
    # Tracing a network takes the network itself, as the pipeline loads it, and PyTorch's outputs to compare with; a card names its scores.
    "model export": BASE | {"model export", "pipeline", "store", "models", "methods", "metrics", "views"},
    "recipes": set(),
    # The table of commands names the package's public functions, and settings to list.
    "cli": BASE | {"facade", "pipeline"},
    "entry": {"cli"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def room(module: str) -> str | None:
    if not module:
        return "facade"
    parts = module.split(".")
    return next((ROOMS[prefix] for n in range(len(parts), 0, -1) if (prefix := ".".join(parts[:n])) in ROOMS), None)


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


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_imports_point_downward(module):
    own = room(module)
    assert own in MAY_IMPORT, f"recam.{module} belongs to no room: enter it in ROOMS and say what it may import"
    for target in imports(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        assert room(target) in MAY_IMPORT[own], f"recam.{module} ({own}) may not import recam.{target} ({room(target)})"


def test_modules_do_not_import_each_other_in_circles():
    def top_level(module):
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        return imports([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]) - {""}

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
    body = ast.parse(MODULES[""].read_text(encoding="utf-8")).body
    assert not imports([node for node in body if isinstance(node, ast.Import | ast.ImportFrom)])


def test_the_reader_of_imports_sees_all_forms():
    inner = "def f():\n    from recam.data import check\n    from recam.labels import IGNORE"
    source = f"import recam.data.voc, numpy\nfrom recam import cli\n{inner}"
    assert imports(ast.parse(source)) == {"data.voc", "cli", "data.check", "labels"}
