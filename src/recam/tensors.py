"""Named tensors in one safetensors file, with JSON beside them in its header: written whole or not at all, read without
pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recam.errors import StoreError
from recam.files import atomic_write


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON-ready `meta`. Raises `StoreError` as `recam.files.atomic_write` does; the old file
    stays."""
    own = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(own, temporary, metadata={"recam": json.dumps(meta)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. Raises `StoreError` for a damaged file, naming it."""
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return tensors, _meta_of(file)


def load_meta(path: Path) -> dict[str, Any]:
    """The `meta` of a file alone. Raises `StoreError` as `load_tensors` does."""
    with _opened(path) as file:
        return _meta_of(file)


def _meta_of(file: Any) -> dict[str, Any]:
    meta = json.loads((file.metadata() or {}).get("recam", "{}"))
    if not isinstance(meta, dict):
        raise ValueError(f"the description of its tensors is {type(meta).__name__}, not fields")
    return meta


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (
        SafetensorError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        MemoryError,
    ) as error:  # RecursionError is a RuntimeError
        raise StoreError(f"{path} cannot be read ({error}). Delete it; the same command makes it again.") from error
