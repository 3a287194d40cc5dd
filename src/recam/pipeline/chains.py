"""Chains of refiners in a run: which are wanted, what each link is called, and which threshold its maps come with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recam.methods.recam import Weighting
from recam.recipe.recipe import Recipe

Origin = Literal["cam", "recam", "given"]


@dataclass(frozen=True)
class Link:
    """A stretch of a chain, from the seeds to one refiner.

    Attributes:
        origin: the seeds that it starts from.
        chain: names of the refiners so far; none of them: the seeds themselves.
    """

    origin: Origin
    chain: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """E.g. ``recam+advcam+irn``."""
        return "+".join((self.origin, *self.chain))

    @property
    def refiner(self) -> str:
        """The last refiner."""
        return self.chain[-1]

    @property
    def before(self) -> Link:
        """What the last refiner is given."""
        return Link(self.origin, self.chain[:-1])

    @property
    def maps_stage(self) -> str:
        """The stage whose folder holds the maps."""
        return f"refined/{self.name}" if self.chain else f"seeds/{self.origin}"

    @property
    def scores_stage(self) -> str:
        """The stage that scores the maps."""
        return f"scores/{self.name}"

    @property
    def training(self) -> str:
        """The stage that trained the classifier of its seeds."""
        return "reactivate" if self.origin == "recam" else "classify"

    def weighting(self, recipe: Recipe) -> Weighting:
        """Weights of eq. 9 that the seeds were made with."""
        return recipe.seeds.weighting if self.origin == "recam" else "w"

    def title(self, recipe: Recipe) -> str:
        """The maps' name in results, e.g. ``recam mul + irn``."""
        seeds = f"recam {recipe.seeds.weighting}" if self.origin == "recam" else self.origin
        return " + ".join((seeds, *self.chain))


def origin_of(recipe: Recipe) -> Origin:
    """Where the seeds of pseudo masks come from."""
    if recipe.seeds.source:
        return "given"
    return "recam" if recipe.reactivate.enabled else "cam"


def mask_link(recipe: Recipe) -> Link:
    """What pseudo masks are made from."""
    return Link(origin_of(recipe), recipe.refine)


def refined_links(recipe: Recipe) -> list[Link]:
    """Every link of every chain that the recipe asks for, each once, a link after those that it builds on."""
    own = origin_of(recipe)
    origins: tuple[Origin, ...] = (own, "cam") if recipe.chains.cam and own == "recam" else (own,)
    chains = (recipe.refine, *recipe.chains.compare)
    return list(dict.fromkeys(Link(origin, chain[:end]) for origin in origins for chain in chains for end in range(1, len(chain) + 1)))


def is_for_masks(recipe: Recipe, link: Link) -> bool:
    """Whether pseudo masks are made from this link, or from one that builds on it."""
    final = mask_link(recipe)
    return link.origin == final.origin and link.chain == final.chain[: len(link.chain)]
