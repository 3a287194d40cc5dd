"""Published weights by what they were trained on: timm's pretrained tags, words for groups of them, and their licences.

A network of timm has several sets of weights, each under a tag: ``vit_base_patch16_224.dino``, ``….augreg_in21k``.
``weights = "dino"`` names a tag of the backbone, or a group of tags that go by many names (`GROUPS`): of those the
first that timm lists. ``imagenet`` stands for the weights that timm takes where none are named.

A tag does not change the network: `Tagged.name` without it is the backbone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import timm
from timm.models import get_arch_pretrained_cfgs

from recam.errors import WeightsError, near_matches

DEFAULT = "imagenet"
"""The weights that timm takes by itself."""
GROUPS = {
    "dino": r"(fb_)?dino",
    "dinov2": r"lvd142m",
    "dinov3": r"(dinov3_)?(lvd1689m|sat493m)",
    "clip": r"(openai|laion|clip_laion|datacomp|metaclip|dfn\d|apple_mclip|tinyclip).*",
    "siglip": r"(v2_)?webli.*",
    "imagenet21k": r"(.*_)?in2[12]k(_.*)?",
    "mae": r"(fc)?mae(_.*)?",
    "sam": r"sa1b",
}
"""Words for groups of tags, as expressions that the tags match; weights fine-tuned afterwards (``…_ft_in1k``) come
last."""
UNKNOWN = "unknown"
FREE = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0")
"""Licences that allow any use."""


@dataclass(frozen=True)
class Tagged:
    """A set of published weights.

    Attributes:
        name: as timm and its download site know it, e.g. ``vit_base_patch16_224.dino``.
        licence: what timm says of it, e.g. ``apache-2.0``; ``unknown`` where it says nothing.
        source: the repository of the download site; empty: none.
    """

    name: str
    licence: str
    source: str

    @property
    def terms(self) -> str:
        """The licence as a sentence's part; what it forbids and what the photos' terms add is for the reader to look
        up."""
        return f"licence {self.licence} by timm's record" + (f", from {self.source}" if self.source else "")

    @property
    def is_restricted(self) -> bool:
        """Whether its licence is none of those that allow any use."""
        return self.licence not in FREE


@cache
def list_tags(name: str) -> dict[str, Tagged]:
    """Published weights of timm's model `name` by tag, the one that timm takes by itself first; none of a model that
    timm does not know."""
    if not timm.is_model(name):
        return {}
    found = {}
    for full, config in get_arch_pretrained_cfgs(name.partition(".")[0]).items():
        if config.has_weights:
            tag = full.partition(".")[2]
            found[tag] = Tagged(full, str(config.license or UNKNOWN), str(config.hf_hub_id or ""))
    return found


def find_weights(name: str, weights: str) -> Tagged | None:
    """The published weights that `weights` stands for; None where it is neither `DEFAULT`, nor a group, nor a tag of
    this model: a file, or a misspelled word.

    Args:
        name: a timm model name; its own tag, ``NAME.TAG``, is what `DEFAULT` stands for then.

    Raises:
        WeightsError: a group of which this model has none; with those that it has, and with models that do.
    """
    tags = list_tags(name)
    if weights == DEFAULT:
        own = name.partition(".")[2]
        return tags.get(own) if own else next(iter(tags.values()), None)
    if weights in tags:
        return tags[weights]
    if weights not in GROUPS:
        return None
    if chosen := _of_group(tags, weights):
        return chosen
    has = f"It has {', '.join(map(repr, tags))}" if tags else "timm has no weights of it"
    raise WeightsError(f"no {weights!r} weights of {name!r} are published. {has}. {_models_with(name, weights)}")


def published(name: str, weights: str) -> Tagged | None:
    """`find_weights`, None also where it raises: for what is only shown."""
    try:
        return find_weights(name, weights)
    except WeightsError:
        return None


def near_weights(name: str, weights: str, others: tuple[str, ...]) -> str:
    """Near matches of a misspelled word among the names of weights that a backbone has; empty: none."""
    tags = list_tags(name)
    return near_matches(weights, [*others, *(group for group in GROUPS if _of_group(tags, group)), *tags])


def _of_group(tags: dict[str, Tagged], group: str) -> Tagged | None:
    within = [tag for tag in tags if re.fullmatch(GROUPS[group], tag)]
    within.sort(key=lambda tag: ("ft_" in tag, tag.startswith("orig_")))  # stable: else timm's order
    return tags[within[0]] if within else None


def _models_with(name: str, group: str) -> str:
    """A sentence that names models with weights of a group, those of a like name first."""
    known = [model for model in timm.list_models() if _of_group(list_tags(model), group)]
    near = sorted(known, key=lambda model: (-_shared(model, name), len(model)))
    return f"Backbones that do, among others: {', '.join(near[:4])}." if near else ""


def _shared(one: str, other: str) -> int:
    """Characters that both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
