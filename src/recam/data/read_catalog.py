"""A data set whose image files are read in a chosen way: pages, bands, what is black and white."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from recam.data.catalog import Catalog, PassedOver
from recam.data.images import ImageFile
from recam.data.reading import Reading
from recam.errors import Problem, RecipeError
from recam.types import Sample


class ReadCatalog(Catalog):
    """Another catalog, its image files read as chosen.

    Args:
        catalog: the data set.
        reading: how its files are read.
    """

    def __init__(self, catalog: Catalog, reading: Reading) -> None:
        self._catalog, self._reading = catalog, reading
        self.classes, self.roles = catalog.classes, catalog.roles

    @property
    def splits(self) -> tuple[str, ...]:
        return self._catalog.splits

    def samples(self, split: str) -> Sequence[Sample]:
        return [self._as_chosen(sample) for sample in self._catalog.samples(split)]

    def unlabelled(self) -> Sequence[Sample]:
        return [self._as_chosen(sample) for sample in self._catalog.unlabelled()]

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        return self._catalog.problems(splits)

    def passed_over(self) -> list[PassedOver]:
        return self._catalog.passed_over()

    def _as_chosen(self, sample: Sample) -> Sample:
        if not isinstance(sample.image, ImageFile):
            raise RecipeError(
                "data.bands, data.page and data.value_range are for image files, and the images of this data set are"
                " drawn. Leave them out."
            )
        return replace(sample, image=replace(sample.image, reading=self._reading))
