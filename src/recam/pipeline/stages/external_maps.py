"""External (precomputed) class maps, `maps.source`: checked as a whole before anything is done with them, then taken
into the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recam.data.catalog import MapFiles
from recam.data.ignored import find_no_data
from recam.data.images import image_size
from recam.data.roles import SHOW_AFTER, RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import Problem, StoreError, data_error
from recam.files import named_file
from recam.methods.cam import strided_size
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.stages.maps import MapSettings
from recam.progress import track
from recam.runfolder.kinds import MAPS
from recam.runfolder.maps import read_seed, save_seed
from recam.runfolder.supervision import EXTERNAL
from recam.types import Sample, SeedMaps

NAME = "external"
STAGE = f"maps/{NAME}"


@dataclass(frozen=True)
class ExternalGiven:
    """What the taken maps depend on: what their files hold."""

    files: str
    bits: int


def plan_external(own: MapSettings, data: RunData, threshold: float | None) -> tuple[Stage, MapSet]:
    """The stage that takes the maps, and the set that they are."""
    given = ExternalGiven(data.fingerprint("seeded", MapFiles(Path(own.source), ".npz")), own.bits)
    background, scores = data.catalog.classes.background, f"scores/{NAME}" if data.score else ""
    own_threshold = threshold if background else None
    maps = MapSet(
        MapFolder(STAGE), NAME, NAME, "external class maps", own_threshold, scores=scores, background=background
    )
    label = {"title": maps.title, "kind": MAPS, "training": NAME, "colour": "", "sets": [maps.label()]}
    stage = Stage(STAGE, "maps", take(own.source), given, (), ("seeded",), supervision=(EXTERNAL,), label=label)
    return replace(stage, amounts=take_amounts), maps


def check_external(source: str, data: RunData) -> None:
    """Raises `DataError` with everything that is wrong with the folder of maps: missing, damaged, of other classes or
    sizes.

    A folder that was made for another data set shows by its ids, its classes and its sizes.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise data_error(
            [
                Problem(
                    "no-folder",
                    str(folder),
                    "maps.source names no folder. Give the one that holds ID.npz of each image.",
                )
            ]
        )
    shown = track(data.seeded, "maps.source", len(data.seeded), quiet=data.quiet, after=SHOW_AFTER)
    problems = [problem for sample in shown for problem in _problems(folder, sample, len(data.catalog.classes))]
    if problems:
        raise data_error(problems)


def take(source: str) -> Any:
    """A stage's function that copies the maps into the run, each in the order of its image's labels."""

    def make(given: ExternalGiven, work: Work) -> dict[str, Any]:
        def target(sample: Sample) -> Path:
            return work.folder.path / f"{sample.id}.npz"

        for sample in work.share(work.data.seeded, lambda sample: target(sample).is_file()):
            seed = read_seed(_path(Path(source), sample))
            order = [seed.class_indices.tolist().index(label) for label in sample.labels]
            ignored = find_no_data(sample.image.read(), sample.no_data) if sample.no_data else None
            if ignored is not None and seed.ignore is not None:
                ignored |= seed.ignore
            kept = SeedMaps(
                seed.maps[order], seed.class_indices[order], seed.size, seed.ignore if ignored is None else ignored
            )
            save_seed(target(sample), kept, given.bits, work.data.catalog.classes.background)
        return {"images": len(work.data.seeded), "source": source}

    return make


def take_amounts(given: ExternalGiven, data: RunData) -> list[Amount]:
    """The maps of every image are copied."""

    def set_up(bench: Bench) -> Turn:
        def turn(sample: Sample) -> None:
            seed, path = read_seed(bench.seeds / f"{sample.id}.npz"), bench.folder / "taken" / f"{sample.id}.npz"
            save_seed(path, seed, given.bits, bench.background)

        return turn

    return [Amount("maps of an image copied", len(data.seeded), set_up, given.bits)]


def _path(folder: Path, sample: Sample) -> Path:
    return named_file(folder, f"{sample.id}.npz")


def _problems(folder: Path, sample: Sample, n_classes: int) -> Iterator[Problem]:
    path = _path(folder, sample)
    if not path.is_file():
        yield Problem("missing-maps", str(path), "no class maps of this image: is the folder one of another data set?")
        return
    try:
        seed = read_seed(path, "Write it again with recam.runfolder.maps.save_seed.")
    except (StoreError, ValueError) as error:
        yield Problem("damaged-maps", str(path), str(error).removeprefix(f"{path} "))
        return
    held = set(seed.class_indices.tolist())
    if held - set(range(n_classes)):
        yield Problem(
            "unknown-class",
            str(path),
            f"maps of classes {sorted(held)}, but there are {n_classes}: made for another data set?",
        )
    elif not set(sample.labels) <= held:
        wanted = sorted(set(sample.labels) - held)
        yield Problem(
            "missing-class",
            str(path),
            f"no map of the image's label {wanted}; it holds {sorted(held)}: made for other labels?",
        )
    size, shape = image_size(sample.image), seed.maps.shape[1:]
    if seed.size != size:
        yield Problem(
            "other-size", str(path), f"maps of a {seed.size} image, but the image is {size}: made for other photos?"
        )
    elif shape not in (size, strided_size(size)):
        yield Problem(
            "other-size",
            str(path),
            f"the maps are {shape}, not {strided_size(size)}, a quarter, or the image's {size}.",
        )
