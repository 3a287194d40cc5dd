"""The labels that PSA learns from: pixels of the training images that two backgrounds agree on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recam.data.images import write_mask
from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.tasks import Plain
from recam.engine.work import Work
from recam.labels import IGNORE, mask_values
from recam.methods import pamr
from recam.methods.cam import read_full
from recam.methods.crf import crf_probabilities
from recam.methods.psa import LABEL_CRF, add_background, affinity_labels, moving_means
from recam.pipeline.map_set import MapFolder
from recam.pipeline.stages.score import HasMask, mask_path
from recam.preprocess import rgb_of
from recam.runfolder.maps import read_seed
from recam.runfolder.store import StageFolder
from recam.types import Image, Mask, Sample


@dataclass(frozen=True)
class LabelsGiven:
    """What the labels depend on, beside the maps."""

    maps: MapFolder
    low_alpha: float
    high_alpha: float
    by: str


def make_labels(given: LabelsGiven, work: Work) -> dict[str, Any]:
    """Labels of every training image, in processes of their own."""
    maker = LabelMaker(work.inputs[given.maps.stage].path / given.maps.inner, work.folder, given)
    work.each(work.data.train, Plain(HasMask(work.folder), maker), processes=True)
    return {"images": len(work.data.train)}


def label_amounts(given: LabelsGiven, data: RunData) -> list[Amount]:
    """Every training image gets its labels."""

    def set_up(bench: Bench) -> Turn:
        return LabelMaker(bench.seeds, StageFolder("labels", bench.folder / "labels", ""), given)

    return [Amount("affinity labels of an image", len(data.train), set_up, given.by, "pool")]


@dataclass(frozen=True)
class LabelMaker:
    """Reads an image's maps and writes its labels; picklable, for processes."""

    maps: Path
    folder: StageFolder
    given: LabelsGiven

    def __call__(self, sample: Sample) -> None:
        image, seed = rgb_of(sample.image.read()), read_seed(self.maps / f"{sample.id}.npz")
        maps = torch.from_numpy(np.ascontiguousarray(read_full(seed)))  # (n, H, W)
        low, high = (
            moving_means(self._clean(image, add_background(maps, alpha)))
            for alpha in (self.given.low_alpha, self.given.high_alpha)
        )  # (n + 1, H, W)
        labels = affinity_labels(low, high).numpy()  # (H, W) 0…n, 255
        values = np.full(256, IGNORE, np.uint8)
        values[: len(maps) + 1] = mask_values(seed.class_indices)
        found: Mask = values[labels]
        if seed.ignore is not None:
            found[seed.ignore] = IGNORE
        write_mask(mask_path(self.folder, sample.id), found)

    def _clean(self, image: Image, planes: Tensor) -> Tensor:
        """Scores (n + 1, H, W) along the edges of the image (H, W, 3), summing to 1."""
        shares = planes / planes.sum(0, keepdim=True).clamp_min(torch.finfo(planes.dtype).tiny)
        if self.given.by == "crf":
            return torch.from_numpy(crf_probabilities(image, shares.numpy(), LABEL_CRF))
        images = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()  # (3, H, W)
        return pamr.refine(images[None], shares[None])[0]
