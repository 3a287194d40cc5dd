"""The one registry mechanism: catalogs, refiners and segmenters are found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from recam.errors import RecipeError, near_matches

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names → entries; an unknown name is answered with near matches.

    Example:
        >>> catalogs = Registry("data set")
        >>> @catalogs.register("voc")
        ... class Voc: ...
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a class or function under `name`."""

        def enter(entry: T) -> T:
            if name in self._entries and self._entries[name] is not entry:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise RecipeError(f"unknown {self.what} {name!r}.{near_matches(name, self._entries)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries
