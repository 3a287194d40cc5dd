"""What a plan warns of: no mistake, but what costs hours or masks where nobody has thought of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from recam.data.image_sizes import ImageSizes
from recam.data.roles import DataSettings, RunData
from recam.engine.forecast import Forecast
from recam.engine.machine import Machine
from recam.models.backbones import BackboneSettings
from recam.models.pretrained import published
from recam.recipe.recipe import Recipe

FEWEST = 10
"""Images of a class from which it can be learned at all, as a rule of thumb."""
MANY_PIXELS = 4_000_000
"""Pixels from which networks take minutes and gigabytes for an image."""
HOURS = 3.0
"""On a CPU, from which a GPU is missed."""
SHARE = 0.9
"""Part of the free memory and disk that may be planned."""
LISTED = 5


def find_warnings(
    recipe: Recipe, data: RunData, sizes: ImageSizes, machine: Machine, stages: Mapping[str, Forecast]
) -> list[str]:
    """Sentences, each with what to do.

    Args:
        stages: what each stage that is still to be made will take.
    """
    return [
        *_of_images(recipe, sizes),
        *_of_labels(data),
        *_of_weights(recipe),
        *_of_memory(machine, stages),
        *_of_disk(machine, stages),
        *_of_time(machine, stages),
    ]


def _of_images(recipe: Recipe, sizes: ImageSizes) -> Iterator[str]:
    limit: Any = recipe.section(DataSettings).max_side
    large = sum(height * width >= MANY_PIXELS for height, width in sizes.sizes)
    if large and limit is None:
        height, width = max(sizes.sizes, key=lambda size: size[0] * size[1])
        yield (
            f"{large} of {len(sizes.sizes)} images looked at have {MANY_PIXELS / 1e6:g} million pixels or more (up to"
            f" {width}×{height}) and are read as they are, at great cost: set data.max_side, e.g. to 1024."
        )


def _of_labels(data: RunData) -> Iterator[str]:
    counts = Counter(label for sample in data.train for label in sample.labels)
    few = [(data.catalog.classes.names[label], n) for label, n in sorted(counts.items()) if n < FEWEST]
    if few:
        named = ", ".join(f"{name} ({n})" for name, n in few[:LISTED])
        named += f" and {len(few) - LISTED} more" if len(few) > LISTED else ""
        yield f"classes with fewer than {FEWEST} images are hardly learned: {named}. Add images, or leave them out."
    if not data.catalog.classes.background and all(len(sample.labels) < 2 for sample in data.train):
        yield (
            "no image has two labels, and data.background is 'none': each mask will be of its image's class throughout,"
            " whatever is trained. Label larger images with all that they show, or leave out the setting where there is"
            " a background."
        )


def _of_weights(recipe: Recipe) -> Iterator[str]:
    own = recipe.section(BackboneSettings)
    tagged = published(own.name, own.weights)
    if tagged and tagged.is_restricted:
        yield (
            f"the weights {tagged.name} are under {tagged.licence}, which may forbid your use of what is trained from"
            " them: read its terms, or choose weights that are free of such."
        )


def _of_memory(machine: Machine, stages: Mapping[str, Forecast]) -> Iterator[str]:
    worst = max(stages, key=lambda name: stages[name].memory, default=None)
    if worst and stages[worst].memory > SHARE * machine.free_memory:
        yield (
            f"{worst} will take about {stages[worst].memory / 2**30:.1f} GiB of memory, and"
            f" {machine.free_memory / 2**30:.1f} GiB are free: set compute.workers to 1, data.max_side lower, or a"
            " smaller batch."
        )
    worst = max(stages, key=lambda name: stages[name].gpu, default=None)
    if worst and stages[worst].gpu > SHARE * machine.gpu_memory:
        yield (
            f"{worst} will take about {stages[worst].gpu / 2**30:.1f} GiB of the GPU's"
            f" {machine.gpu_memory / 2**30:.1f} GiB: set a smaller batch or crop."
        )


def _of_disk(machine: Machine, stages: Mapping[str, Forecast]) -> Iterator[str]:
    disk = sum(each.disk for each in stages.values())
    if disk > SHARE * machine.free_disk:
        yield (
            f"the run will write about {disk / 1e9:.1f} GB, and {machine.free_disk / 1e9:.1f} GB are free: name another"
            " disk with -o, free space (`recam clean`), or cache fewer features."
        )


def _of_time(machine: Machine, stages: Mapping[str, Forecast]) -> Iterator[str]:
    hours = sum(each.seconds for each in stages.values()) / 3600
    if not machine.gpu and hours > HOURS:
        yield (f"there is no GPU: about {hours:.0f} hours on this CPU. Recipe auto takes less, a GPU too.")
