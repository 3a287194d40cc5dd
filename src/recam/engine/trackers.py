"""Losses and scores of a run for TensorBoard, Weights & Biases or MLflow, by the trackers of Accelerate.

All of them write into ``trackers/`` of the run folder, and nothing leaves the machine, unless ``wandb-online`` is
named. A tracker that fails is left out from then on: no result depends on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker

from recam.errors import DependencyError, first_line
from recam.progress import Listener, Overall, Progress, log_line

FOLDER = "trackers"
PROJECT = "recam"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "wandb-online": "wandb", "mlflow": "mlflow"}


def _make_tensorboard(root: Path) -> GeneralTracker:
    return TensorBoardTracker("tensorboard", logging_dir=str(root / FOLDER))


def _make_wandb(root: Path, mode: str) -> GeneralTracker:
    (root / FOLDER).mkdir(exist_ok=True)  # elsewhere wandb takes the system's folder of temporary files
    same_again = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    kept = {"name": root.name, "dir": str(root / FOLDER), "id": same_again, "resume": "allow"}
    return WandBTracker(PROJECT, mode=mode, **kept)


def _make_mlflow(root: Path) -> GeneralTracker:
    import mlflow

    place = (root / FOLDER / "mlflow").resolve()
    place.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
    return MLflowTracker(PROJECT, logging_dir=place.as_uri(), run_name=root.name)


MAKERS: dict[str, Callable[[Path], GeneralTracker]] = {
    "tensorboard": _make_tensorboard,
    "wandb": partial(_make_wandb, mode="offline"),
    "wandb-online": partial(_make_wandb, mode="online"),
    "mlflow": _make_mlflow,
}
"""Run folder → tracker, by the names that ``compute.log`` takes."""


@dataclass
class Tracked(Listener):
    """A `Listener` that hands losses and scores to a tracker, which starts with the first of them, so that a run with
    nothing to do leaves nothing.

    Attributes:
        name: of the tracker, as ``compute.log`` has it.
        root: the run folder.
        settings: of the run, by name.
    """

    name: str
    root: Path
    settings: Mapping[str, Any]
    _tracker: GeneralTracker | None = None
    _failed: bool = False

    def measured(self, what: str, step: int, values: Mapping[str, float]) -> None:
        named = {f"{what}/{name}": value for name, value in values.items()}
        # Each training counts its steps from 0, and Weights & Biases drops what goes back.
        counts_itself = PACKAGES[self.name] == "wandb"
        named |= {f"{what}/step": step} if counts_itself else {}
        self._try(lambda tracker: tracker.log(named, step=None if counts_itself else step))

    def message(self, text: str) -> None:
        """Messages are in ``run.log``."""

    def advanced(self, progress: Progress, note: str) -> None:
        """Progress is in ``progress.json``."""

    def overall(self, progress: Progress) -> Overall | None:
        """Not known here."""

    def close(self) -> None:
        """Nothing more comes."""
        if self._tracker and not self._failed:
            self._try(lambda tracker: tracker.finish())

    def _try(self, act: Callable[[GeneralTracker], object]) -> None:
        if self._failed:
            return
        try:
            if self._tracker is None:
                self._tracker = MAKERS[self.name](self.root)
                self._tracker.start()
                if self.name != "tensorboard":  # its table of settings would be a run of its own each time
                    self._tracker.store_init_configuration(dict(self.settings))
            act(self._tracker)
        except Exception as error:  # whatever a package of others raises
            self._failed = True
            log_line(f"{self.name} gets no more values ({first_line(error)}); they are in metrics.jsonl.")


@contextmanager
def open_trackers(names: Sequence[str], root: Path, settings: Mapping[str, Any]) -> Iterator[list[Tracked]]:
    """Listeners for these trackers, closed when the block ends.

    Raises:
        DependencyError: naming all packages that are not installed, before anything is computed.
    """
    missing = sorted({PACKAGES[name] for name in names if find_spec(PACKAGES[name]) is None})
    if missing:
        raise DependencyError(f"compute.log names what is not installed: pip install {' '.join(missing)}.")
    trackers = [Tracked(name, root, settings) for name in dict.fromkeys(names)]
    try:
        yield trackers
    finally:
        for each in trackers:
            each.close()
