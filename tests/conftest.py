"""What all tests share: one thread, no network, and a run as small as it goes."""

import gc
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import recam
from forked import THREADS
from order_hooks import *  # noqa: F403 (pytest finds hooks by name)
from recam import cli
from skip_hooks import *  # noqa: F403
from tiny_recipe import TINY, keep_scenes

torch.set_num_threads(THREADS)
keep_scenes()

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection but one to this machine fails the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and not str(host).startswith(LOOPBACK):
            raise OSError(f"a test tried to reach the network: {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files need not survive a loss of power here, and waiting for a busy disk takes most of the time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_imported_is_garbage() -> None:
    """The garbage collector passes over all that is loaded now, a million objects of PyTorch and others, whenever it
    runs; and a run has it run after each stage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, object]:
    """Settings for recipe ``tiny`` on twelve scenes of 64 pixels; copy before changing."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run, made once a session. Never write into it: take `copy_of_tiny_run`."""
    root = tmp_path_factory.mktemp("tiny") / "run"
    recam.run(recipe="tiny", output=root, settings=TINY)
    return root


@pytest.fixture
def copy_of_tiny_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A finished tiny run to do with as one likes."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run", symlinks=True))


@pytest.fixture(scope="session")
def rerun() -> Callable[..., object]:
    """``rerun(folder, **settings)``: the tiny run's command again, in this process, with dots written as double
    underscores."""

    def again(folder: Path, until: str | None = None, **changed: object) -> object:
        settings = TINY | {name.replace("__", "."): value for name, value in changed.items()}
        return recam.run(recipe="tiny", output=folder, settings=settings, until=until)

    return again


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``command("check", "scenes:")`` → (exit code, standard output, standard error), as the console script does."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recam", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call
