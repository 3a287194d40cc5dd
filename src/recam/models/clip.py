"""CLIP's two towers, from a folder as open_clip publishes it: ``open_clip_config.json`` and
``open_clip_model.safetensors``; nothing is downloaded.

Images of any size: positions are interpolated, bilinear. The image's place in the common space is that of its patches'
mean, as CLIP-ES takes it, not of the class token.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import DependencyError, RecamError, WeightsError, first_line
from recam.models.weights import read_file
from recam.preprocess import normalise_pixels, resize_image, scaled_size
from recam.types import Image

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
EXTRA = "CLIP needs open_clip: pip install 'recam[clip]'"
HOW = (
    "Give a folder with open_clip_config.json and open_clip_model.safetensors of a ViT, e.g. from `huggingface-cli"
    " download timm/vit_base_patch16_clip_224.openai --local-dir clip`."
)
MOST_BYTES = 1 << 20
"""Of a config."""


@dataclass(frozen=True)
class ClipView:
    """What CLIP makes of one image.

    Attributes:
        tokens: (1, T, D) that go into the last attention, a leaf with gradients.
        attention: (T, T), mean over heads and the last layers; rows sum to 1.
        grid: (h, w) patches; T = 1 + h·w.
        embedding: (E,), computed from the tokens.
    """

    tokens: Tensor
    attention: Tensor
    grid: tuple[int, int]
    embedding: Tensor


class Clip(nn.Module):
    """Both towers, frozen. Made by `load_clip`."""

    def __init__(self, model: Any, tokenize: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model, self.tokenize, self.mean, self.std = model.eval().requires_grad_(False), tokenize, mean, std

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax."""
        scale: Tensor = self.model.logit_scale.exp()
        return scale

    @property
    def device(self) -> torch.device:
        """Where it works."""
        device: torch.device = self.model.visual.conv1.weight.device
        return device

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(m, E) of unit length; texts that are longer than the model takes are cut."""
        embedded: Tensor = self.model.encode_text(self.tokenize(list(texts)).to(self.device), normalize=True)
        return embedded

    def as_view(self, image: Image, max_side: int | None = None) -> Tensor:
        """An RGB image (H, W, 3) as the network reads it: (1, 3, H', W'), sides rounded up to its patches."""
        patch = self.model.visual.patch_size[0]
        height, width = scaled_size((image.shape[0], image.shape[1]), 1.0, max_side)
        size = (math.ceil(height / patch) * patch, math.ceil(width / patch) * patch)
        pixels = normalise_pixels(resize_image(image, size), self.mean, self.std)
        return torch.from_numpy(pixels)[None].to(self.device)

    def read(self, view: Tensor, last: int) -> ClipView:
        """Tokens, attention and embedding of a view (1, 3, H, W), whose sides are whole patches.

        Args:
            last: the attention of the last so many layers is averaged.
        """
        visual, blocks = self.model.visual, self.model.visual.transformer.resblocks
        attentions: list[Tensor] = []
        with torch.no_grad():
            x, grid = self._embed(view)  # (1, T, D)
            for block in blocks[:-1]:
                x = _pass(block, x, block.ln_1(x), attentions)
            normed = blocks[-1].ln_1(x)
        tokens = normed.detach().requires_grad_()
        with torch.enable_grad():
            x = _pass(blocks[-1], x, tokens, attentions)
            pooled = visual.ln_post(x)[0, 1:].mean(0)  # (D,)
            embedding = pooled @ visual.proj  # (E,)
        attention = torch.stack([each.detach() for each in attentions[-last:]]).mean(0)[0]  # (T, T)
        return ClipView(tokens, attention, grid, embedding)

    def _embed(self, view: Tensor) -> tuple[Tensor, tuple[int, int]]:
        visual = self.model.visual
        x = visual.conv1(view)  # (1, D, h, w)
        grid = (x.shape[2], x.shape[3])
        token = visual.class_embedding.expand(1, 1, -1)
        x = torch.cat([token, x.flatten(2).transpose(1, 2)], 1)  # (1, T, D)
        return visual.ln_pre(x + place(visual.positional_embedding, visual.grid_size, grid)), grid


def place(positions: Tensor, made_for: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Embeddings of positions (1 + h'·w', D) made for one grid, interpolated to another: (1 + h·w, D)."""
    if made_for == grid:
        return positions
    planes = positions[1:].T.reshape(1, -1, *made_for)  # (1, D, h', w')
    moved = F.interpolate(planes, grid, mode="bilinear", align_corners=False)[0].flatten(1).T  # (h·w, D)
    return torch.cat([positions[:1], moved])


def _pass(block: Any, x: Tensor, normed: Tensor, attentions: list[Tensor]) -> Tensor:
    """A block of the image tower, on tokens and their norm; its attention (1, T, T) is appended."""
    attended, weights = block.attn(normed, normed, normed, need_weights=True)
    attentions.append(weights)
    x = x + block.ls_1(attended)
    x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return x


def require_open_clip() -> None:
    """Raises `DependencyError` where open_clip is not installed."""
    try:
        import open_clip  # noqa: F401
    except ImportError as error:
        raise DependencyError(f"{EXTRA}.") from error


def clip_files(folder: Path) -> tuple[Path, Path]:
    """Config and weights of a folder. Raises `WeightsError` for those that are missing."""
    files = (folder / CONFIG, folder / WEIGHTS)
    if lost := [each.name for each in files if not each.is_file()]:
        raise WeightsError(f"{folder} has no {' and no '.join(lost)}. {HOW}")
    return files


def build_clip(folder: Path) -> Clip:
    """The towers of a folder with random weights.

    Raises:
        WeightsError: files that are missing, or a model of another kind than a plain ViT with CLIP's own text tower.
        DependencyError: open_clip is not installed.
    """
    require_open_clip()
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

    path, _ = clip_files(folder)
    config = _read_config(path)
    kind = config["model_cfg"]
    vision, text = kind["vision_cfg"], kind["text_cfg"]
    foreign = [
        name
        for part in (vision, text)
        for name in (
            "timm_model_name",
            "hf_model_name",
            "hf_tokenizer_name",
            "attentional_pool",
            "no_ln_pre",
            "block_type",
        )
        if part.get(name)
    ]
    if foreign or not isinstance(vision.get("layers"), int):
        what = ", ".join(foreign) or "layers that are no number"
        raise WeightsError(f"{path}: {what}: only plain ViTs with CLIP's own text tower are read. {HOW}")
    try:
        model = CLIP(**kind)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise WeightsError(f"{path}: open_clip makes no model of it ({first_line(error)}). {HOW}") from error
    tokenize = SimpleTokenizer(context_length=model.context_length)
    given = config.get("preprocess_cfg") or {}
    return Clip(model, tokenize, tuple(given.get("mean") or MEAN), tuple(given.get("std") or STD))


def load_clip(folder: Path) -> Clip:
    """`build_clip` with the folder's weights. Raises `WeightsError` also for weights that do not fit."""
    clip = build_clip(folder)
    state = {name: value.float() for name, value in read_file(folder / WEIGHTS).items()}
    try:
        clip.model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{folder / WEIGHTS} does not fit {CONFIG} ({first_line(error)}). {HOW}") from error
    return clip


def clip_problems(folder: str) -> list[str]:
    """What is wrong with a folder, as far as its config shows; empty: nothing."""
    try:
        require_open_clip()
        clip_files(Path(folder))
        _read_config(Path(folder) / CONFIG)
    except RecamError as error:
        return [str(error)]
    return []


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
        content = json.loads(path.read_bytes())
        model = content["model_cfg"]
        whole = isinstance(model["vision_cfg"], dict) and isinstance(model["text_cfg"], dict)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path} is no config of open_clip ({first_line(error)}). {HOW}") from error
    if not whole:
        raise WeightsError(f"{path} is no config of open_clip: vision_cfg and text_cfg are no objects. {HOW}")
    found: dict[str, Any] = content
    return found
