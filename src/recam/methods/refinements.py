"""What cleans the probabilities of a segmentation model along the edges of an image, by name.

Imported without PyTorch: exported networks predict where it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from recam.errors import DependencyError
from recam.preprocess import Planes, rgb_of
from recam.types import Image

Refinement = Literal["none", "crf", "pamr"]
REFINEMENTS: tuple[Refinement, ...] = get_args(Refinement)


def make_refinement(name: Refinement) -> Callable[[Image, Planes], Planes]:
    """A function (image (H, W, 3), probabilities (n, H, W)) → refined probabilities, at the published settings; of
    other bands it compares the first three.

    Raises:
        DependencyError: pydensecrf2 or PyTorch is not installed; the message has the way out.
    """
    if name == "none":
        return lambda image, probabilities: probabilities
    try:
        import torch

        from recam.methods.crf import crf_probabilities, require_densecrf
        from recam.methods.pamr import refine
    except ImportError as error:
        raise DependencyError(
            f"refinement by {name} needs PyTorch: pip install torch. Or predict with refine = 'none'."
        ) from error
    if name == "crf":
        require_densecrf()
        return lambda image, probabilities: crf_probabilities(rgb_of(image), probabilities)

    def by_pamr(image: Image, probabilities: Planes) -> Planes:
        pixels = torch.from_numpy(np.ascontiguousarray(rgb_of(image).transpose(2, 0, 1)))[None].float()  # (1, 3, H, W)
        refined: Planes = refine(pixels, torch.from_numpy(probabilities)[None])[0].numpy()
        return refined

    return by_pamr
