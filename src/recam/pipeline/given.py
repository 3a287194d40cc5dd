"""Class maps made elsewhere, `seeds.source`: checked as a whole before anything is done with them, then taken into the run folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recam.data.catalog import MapFiles
from recam.data.images import image_size
from recam.errors import Problem, StoreError, data_error
from recam.files import named_file
from recam.methods.cam import strided_size
from recam.pipeline.recipe import Recipe
from recam.pipeline.store import map_path, read_seed, save_seed
from recam.pipeline.work import SHOW_AFTER, RunData, Work
from recam.progress import track
from recam.types import Sample, SeedMaps

FOLDER_IN_STAGE = "w"
"""Seeds lie in folders by weighting; maps made elsewhere have one, as CAM's."""


def check_given(recipe: Recipe, data: RunData) -> None:
    """Raises `DataError` with everything that is wrong with the folder of maps: missing, damaged, of other classes or sizes.

    A folder that was made for another data set is told by its ids, its classes and its sizes.
    """
    folder = Path(recipe.seeds.source)
    if not folder.is_dir():
        raise data_error([Problem("no-folder", str(folder), "seeds.source names no folder. Give the one that holds ID.npz of each image.")])
    shown = track(data.seeded, "seeds.source", len(data.seeded), quiet=data.quiet, after=SHOW_AFTER)
    problems = [problem for sample in shown for problem in _problems(folder, sample, len(data.catalog.classes))]
    if problems:
        raise data_error(problems)


def given_settings(recipe: Recipe, data: RunData) -> dict[str, Any]:
    """What the taken maps depend on: what their files hold."""
    return {"files": data.fingerprint("seeded", MapFiles(Path(recipe.seeds.source), ".npz")), "bits": recipe.seeds.bits}


def take_given(work: Work) -> dict[str, Any]:
    """Copy the maps into the run folder, each in the order of its image's labels."""

    def target(sample: Sample) -> Path:
        return map_path(work.folder, FOLDER_IN_STAGE, sample.id)

    for sample in work.share(work.data.seeded, lambda sample: target(sample).is_file()):
        seed = read_seed(_path(Path(work.recipe.seeds.source), sample))
        order = [seed.class_indices.tolist().index(label) for label in sample.labels]
        save_seed(target(sample), SeedMaps(seed.maps[order], seed.class_indices[order], seed.size, seed.ignore), work.recipe.seeds.bits)
    return {"images": len(work.data.seeded), "source": work.recipe.seeds.source}


def _path(folder: Path, sample: Sample) -> Path:
    return named_file(folder, f"{sample.id}.npz")


def _problems(folder: Path, sample: Sample, n_classes: int) -> Iterator[Problem]:
    path = _path(folder, sample)
    if not path.is_file():
        yield Problem("missing-maps", str(path), "no class maps of this image: is the folder one of another data set?")
        return
    try:
        seed = read_seed(path, "Write it again with recam.pipeline.store.save_seed.")
    except (StoreError, ValueError) as error:
        yield Problem("damaged-maps", str(path), str(error).removeprefix(f"{path} "))
        return
    held = set(seed.class_indices.tolist())
    if held - set(range(n_classes)):
        yield Problem("unknown-class", str(path), f"maps of classes {sorted(held)}, but there are {n_classes}: made for another data set?")
    elif not set(sample.labels) <= held:
        wanted = sorted(set(sample.labels) - held)
        yield Problem("missing-class", str(path), f"no map of the image's label {wanted}; it holds {sorted(held)}: made for other labels?")
    size, shape = image_size(sample.image), seed.maps.shape[1:]
    if seed.size != size:
        yield Problem("other-size", str(path), f"maps of a {seed.size} image, but the image is {size}: made for other photos?")
    elif shape not in (size, strided_size(size)):
        yield Problem("other-size", str(path), f"the maps are {shape}, not {strided_size(size)}, a quarter, or the image's {size}.")
