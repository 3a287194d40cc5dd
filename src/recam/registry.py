"""The one way that data sets, backbones, trainings, refiners, segmenters, formats and studies are found by name.

What the package brings is imported at the first look-up, and so is what other installed packages add through an entry
point of the registry's group: nobody who only wants one method pays for all, and a method of somebody else's needs no
change here.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from recam.errors import DependencyError, RecipeError, near_matches

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names → entries. ``registry[name]`` raises `RecipeError` with near matches for an unknown name; `get` and ``in``
    raise nothing, as of any mapping.

    Args:
        what: what an entry is, for messages.
        group: group of entry points by which other packages add entries, e.g. ``recam.catalogs``; None: none.
        builtin: modules of this package that enter theirs when imported; of a package, all its modules.
        beside: groups of entry points that are imported as well, for what their modules enter here.

    Example:
        >>> catalogs = Registry("data set", "recam.catalogs", ("recam.data.voc",))
        >>> @catalogs.register("voc")
        ... class Voc: ...
    """

    def __init__(
        self, what: str, group: str | None = None, builtin: tuple[str, ...] = (), beside: tuple[str, ...] = ()
    ) -> None:
        self.what, self.group, self.builtin, self.beside = what, group, builtin, beside
        self._entries: dict[str, T] = {}
        self._is_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a class or function under `name`. Raises `ValueError` where another has that name."""

        def enter(entry: T) -> T:
            if name in self._entries and self._entries[name] is not entry:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        self._load()
        if name not in self._entries:
            raise RecipeError(f"unknown {self.what} {name!r}.{near_matches(name, self._entries)}")
        return self._entries[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The entry, or `default` for an unknown name; `Mapping`'s own would expect `KeyError`."""
        return self[name] if name in self else default  # noqa: SIM401 (this is `get`)

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def _load(self) -> None:
        """Import all that enters something here, once.

        Raises:
            DependencyError: another package's entry cannot be imported.
        """
        if self._is_loaded:
            return
        self._is_loaded = True  # at once: what is imported here may look up names
        try:
            self._import_all()
        except BaseException:
            self._is_loaded = False
            raise

    def _import_all(self) -> None:
        for name in self.builtin:
            module = import_module(name)
            for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
                import_module(f"{name}.{inner.name}")
        for group in self.beside:
            for point in entry_points(group=group):
                self._load_point(point)
        for point in entry_points(group=self.group) if self.group else ():
            self.register(point.name)(self._load_point(point))

    def _load_point(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except Exception as error:  # code of others, which may fail in any way
            package = point.dist.name if point.dist else "an installed package"
            message = f"{self.what} {point.name!r} of {package} cannot be imported ({type(error).__name__}: {error})"
            raise DependencyError(f"{message}. Fix or uninstall {package}.") from error
