"""CLIP-ES's place in a run: maps of a frozen CLIP, which is given the names of the data set's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recam.digests import FileDigests
from recam.errors import WeightsError
from recam.inference.class_maps import make_class_maps
from recam.methods.cam import normalise, strided_size, upsample
from recam.methods.clip_es import ClipEsSettings, grad_cam, score_texts, spread_within_boxes, write_texts
from recam.models.clip import HOW, Clip, build_clip, clip_files, clip_problems, load_clip
from recam.pipeline.maker import MakerContext, MapMaker, MapsOf, makers
from recam.preprocess import rgb_of
from recam.recipe.recipe import Recipe
from recam.settings import CHANGES_NOTHING, Settings, Share, section
from recam.types import Image, SeedMaps

_digests = FileDigests()
"""Planning asks more than once for what large files hold."""


@section("clip_es")
@dataclass(frozen=True)
class ClipMakerSettings(ClipEsSettings):
    """Maps of CLIP, `maker = "clip_es"`: see `recam.methods.clip_es`."""

    source: str = ""
    """Folder with ``open_clip_config.json`` and ``open_clip_model.safetensors`` of a ViT; nothing is downloaded. What
    they hold counts, not where they lie."""
    mix: Share = 0.0
    """How much of the maps is the trained classifier's own: 0 those of CLIP alone."""

    def method(self) -> ClipEsSettings:
        """What the maps of CLIP depend on."""
        return ClipEsSettings(**{each.name: getattr(self, each.name) for each in fields(ClipEsSettings)})


@dataclass(frozen=True)
class ClipGiven(Settings):
    """What the maps depend on.

    Attributes:
        method: words and constants.
        mix: how much is the classifier's own.
        names: of the data set's classes.
        content: hashes of the folder's files; empty: they are not there, which planning reports.
        source: the folder.
    """

    method: ClipEsSettings
    mix: float
    names: tuple[str, ...]
    content: tuple[str, ...]
    source: str = field(metadata=CHANGES_NOTHING)


@makers.register("clip_es")
@dataclass(frozen=True)
class ClipEs(MapMaker):
    """`recam.methods.clip_es` of the image at its own scale; the training's maps, where they are mixed in, at those of
    section maps."""

    title, Settings = "CLIP-ES", ClipMakerSettings

    @classmethod
    def plan(cls, name: str, recipe: Recipe, classes: Sequence[str]) -> ClipEs:
        own = recipe.section(ClipMakerSettings)
        try:
            content = tuple(map(_digests, clip_files(Path(own.source))))
        except WeightsError:
            content = ()
        return cls(name, ClipGiven(own.method(), own.mix, tuple(classes), content, own.source))

    def problems(self, recipe: Recipe) -> list[str]:
        own, default = recipe.section(ClipMakerSettings), ClipEsSettings()
        wrong = clip_problems(own.source) if own.source else [f"is not set. {HOW}"]
        unknown = {name for name, word in own.words.items() if default.words.get(name) != word} - set(
            self.settings.names
        )
        found = [f"clip_es.source: {each}" for each in wrong]
        return [*found, *(f"clip_es.words: there is no class {name!r}." for name in sorted(unknown))]

    def make_with(self, context: MakerContext) -> MapsOf:
        return self._maps(context, load_clip(Path(self.settings.source)))

    def untrained(self, context: MakerContext) -> MapsOf:
        return self._maps(context, build_clip(Path(self.settings.source)))

    def _maps(self, context: MakerContext, clip: Clip) -> MapsOf:
        own, method, views = self.settings, self.settings.method, context.views
        clip.to(context.network.fc1.weight.device)
        texts = clip.embed_texts(write_texts(own.names, method.words, method.background, method.template))

        def maps_of(image: Image, classes: Sequence[int]) -> SeedMaps:
            size = (image.shape[0], image.shape[1])
            if not len(classes):
                return self.none(size, strided_size(size))
            chosen = torch.cat([texts[list(classes)], texts[len(own.names) :]])  # (n + b, E)
            made = upsample(
                read_maps(clip, rgb_of(image), chosen, len(classes), method, views.max_side), strided_size(size)
            )
            maps = normalise(made).float().cpu().numpy()
            if own.mix:
                weighting, read = views.weighting, context.training.maps_with(None)
                beside = make_class_maps(
                    context.network, image, classes, [weighting], views.scales, views.flip, views.max_side, read
                )
                maps = (1 - own.mix) * maps + own.mix * beside[weighting].maps
            return SeedMaps(maps.astype(np.float32), np.asarray(classes, np.int64), size)

        return maps_of


def read_maps(
    clip: Clip, image: Image, texts: Tensor, n: int, settings: ClipEsSettings, max_side: int | None
) -> Tensor:
    """Maps of the first n of the texts (m, E), in an image (H, W, 3): (n, h, w) in [0, 1] on CLIP's patches."""
    view = clip.read(clip.as_view(image, max_side), settings.layers)
    with torch.enable_grad():
        scores = score_texts(view.embedding, texts, clip.scale)  # (m,)
        maps = grad_cam(view.tokens, scores, n, view.grid)
    return spread_within_boxes(maps, view.attention, settings)
