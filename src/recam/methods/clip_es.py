"""CLIP-ES (Lin et al., "CLIP is Also an Efficient Segmenter", CVPR 2023): class maps of a frozen CLIP, which is given
the names of the classes; nothing is trained.

Texts are the image's classes, in words that CLIP takes for them, and things that are usually behind (section 3.2).
Scores are the softmax over all of them, so that what looks like a river and no boat is left to the river: p_k of
eq. 4. Grad-CAM of p_k: tokens of the patches before the last attention, weighed by the mean gradient of each channel
(eqs. 1–3). Class-aware attention affinity (section 3.4): the maps are spread along attention between patches, twice
(eq. 5), but only from within boxes around what is high in the map of the class.

Followed: the published code (linyq2117/CLIP-ES), its words, template and constants for VOC. Departures: names of the
data set's own classes are left out of the background; attention is balanced by two rounds of columns and rows, not
three, and its rows sum to 1 again afterwards, see `recam.methods.attention_maps`; a box reaches the last row and
column of the grid. Its CRF is the refiner `crf`. Which network gives tokens, attention and embeddings is left to the
caller: any CLIP with a plain ViT and its text tower.

Letters: n classes of one image, b background texts, E dimensions of CLIP's common space, h×w patches, D channels,
T = 1 + h·w tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.methods.attention_maps import patch_affinity, spread
from recam.settings import Count, CountOrNone, Settings, Share

BACKGROUND_WORDS = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway",
    "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley",
    "bridge", "sign",
)  # fmt: skip
WORDS = {
    "bird": "bird avian",
    "chair": "chair seat",
    "person": "person with clothes,people,human",
    "tvmonitor": "tvmonitor screen",
}
"""What VOC's classes are called in texts, where not by their names."""
EPS = 1e-7


@dataclass(frozen=True)
class ClipEsSettings(Settings):
    """Words and constants; the defaults are those of the published code for VOC."""

    template: str = "a clean origami {}."
    """Text around each word, with ``{}`` where the word stands."""
    words: dict[str, str] = field(default_factory=lambda: dict(WORDS))
    """What CLIP is asked for in place of a class's name, e.g. ``{person = "person with clothes,people,human"}``;
    other classes are asked for by their names."""
    background: tuple[str, ...] = BACKGROUND_WORDS
    """Things that compete with the classes; those that are classes themselves do not."""
    layers: Count = 8
    """The attention of the last so many layers is averaged."""
    steps: CountOrNone = 2
    """How often the maps are spread along it; 0: Grad-CAM alone."""
    box: Share = 0.4
    """Boxes lie around what exceeds this part of a map's maximum; nothing spreads from outside them."""

    def __post_init__(self) -> None:
        if self.template.count("{}") != 1 or set(self.template.replace("{}", "")) & set("{}"):
            raise RecipeError(f"clip_es: template must hold {{}} once, and no other brace, got {self.template!r}.")


def write_texts(names: Sequence[str], words: Mapping[str, str], background: Sequence[str], template: str) -> list[str]:
    """Texts of the classes, then of the background words that are no class."""
    own = {name.casefold() for name in names}
    behind = [word for word in background if word.casefold() not in own]
    return [template.format(word) for word in (*(words.get(name, name) for name in names), *behind)]


def score_texts(embedding: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """p = softmax(scale · cos) of an image (E,) and texts (m, E) → (m,)."""
    return (scale * F.normalize(texts, dim=1) @ F.normalize(embedding, dim=0)).softmax(0)


def grad_cam(tokens: Tensor, scores: Tensor, n: int, grid: tuple[int, int]) -> Tensor:
    """Grad-CAM of the first n scores, each scaled to [0, 1].

    Args:
        tokens: (1, T, D) that the scores were computed from, with gradients; the first one is no patch.
        scores: (m,) with their graph.

    Returns:
        (n, h, w).

    Raises:
        DataError: tokens that are not those of the grid.
    """
    if tokens.shape[1] != 1 + grid[0] * grid[1]:
        raise DataError(f"tokens {tuple(tokens.shape)} are not 1 + {grid[0]}×{grid[1]}.")
    patches, made = tokens.detach()[0, 1:], []  # (h·w, D)
    for k in range(n):
        (gradient,) = torch.autograd.grad(scores[k], tokens, retain_graph=True)
        weights = gradient[0, 1:].mean(0)  # (D,)
        made.append((patches @ weights).relu().view(grid))
    return stretch_each(torch.stack(made)) if made else tokens.new_zeros(0, *grid)


def stretch_each(maps: Tensor) -> Tensor:
    """(x − min) / (max − min + ε) of each plane (n, h, w)."""
    low = maps.amin((1, 2), keepdim=True)
    return (maps - low) / ((maps - low).amax((1, 2), keepdim=True) + EPS)


def draw_boxes(high: Tensor) -> Tensor:
    """Boxes around what is connected, by edges or corners, in masks (n, h, w) bool → (n, h, w) bool."""
    boxes = torch.zeros_like(high)
    for plane, box in zip(high, boxes, strict=True):
        parts = _connected(plane)
        for number in sorted(set(parts.flatten().tolist())):
            if number:
                rows, columns = (parts == number).nonzero(as_tuple=True)
                box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return boxes


def spread_within_boxes(maps: Tensor, attention: Tensor, settings: ClipEsSettings) -> Tensor:
    """Maps (n, h, w) in [0, 1] along attention (T, T), from within their boxes; scaled to [0, 1] again."""
    if not settings.steps or not len(maps):
        return maps
    affinity = patch_affinity(attention[None], 1, (maps.shape[1], maps.shape[2]), symmetric=True)[0]  # (h·w, h·w)
    boxes = draw_boxes(maps > settings.box * maps.amax((1, 2), keepdim=True))
    return stretch_each(spread(maps * boxes, affinity, settings.steps))


def _connected(plane: Tensor) -> Tensor:
    """(h, w) bool → numbers from 1, one for each connected part; 0 outside."""
    numbers = torch.arange(1, plane.numel() + 1, device=plane.device).view(plane.shape).float() * plane
    while True:
        spread_out = F.max_pool2d(numbers[None], 3, 1, 1)[0] * plane
        if torch.equal(spread_out, numbers):
            return numbers
        numbers = spread_out
