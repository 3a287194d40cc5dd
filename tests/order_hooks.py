"""pytest's hooks that share tests out among processes (``pytest -n 2``): by file, those that take longest first."""

from pathlib import Path

import pytest

LONGEST = (
    "test_mutations.py",
    "test_distributed.py",
    "test_backbones.py",
    "test_spawn.py",
    "test_cli.py",
    "test_maps_and_refiners.py",
    "test_benchmarks.py",
    "test_browser.py",
    "test_extend.py",
    "test_resume.py",
)
"""Files that take half a minute or so each. Were one of them the last, one process would work on it and the others
wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the longest files to the front; the order is otherwise as it was."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(Path(item.path).name, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests stay together, since they share runs that it makes first."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "load":
        return None
    config.option.loadscopereorder = False  # the order is ours
    return LoadFileScheduling(config, log)
