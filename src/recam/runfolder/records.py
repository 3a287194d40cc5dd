"""What a stage's record (``stage.json``) and the settings of a run (``run.json``) may hold, checked wherever they are
read.

Readers of a run trust these files: a threshold that has become text, or a key that leads out of the folder, must be
reported and not used. Fields that no reader of a run uses are not checked, so that records of other versions stay
readable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from recam.errors import Problem, StoreError
from recam.runfolder.kinds import HELD_OUT, MAP_SCORES, MAPS, MASK_SCORES, MASKS, PICTURES, PREDICTIONS, REFINED_MAPS
from recam.runfolder.manifest import RECORD
from recam.runfolder.store import RunFolder, read_json, read_run

Share = Annotated[float, Field(ge=0, le=1)]
Agreement = Annotated[float, Field(ge=-1, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0, le=1e15)]
LONGEST_NAME = 255
"""Bytes that the name of a file may have on the file systems of today."""
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=LONGEST_NAME)]  # becomes the name of a folder
ClassName = Annotated[str, Field(min_length=1)]


def _stays_inside(path: str) -> str:
    if path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError("leads out of the folder")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.split("/")):
        raise ValueError(f"has a name of more than {LONGEST_NAME} bytes, which no file can have")
    return path


InnerPath = Annotated[str, AfterValidator(_stays_inside)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Score(_Part):
    threshold: Share
    miou: Share | None


class _Judged(_Part):
    oracle: _Score | None = None
    otsu: _Score | None = None
    thresholds: list[Share] = []
    curve: list[Share | None] = []

    @model_validator(mode="after")
    def _one_score_each(self) -> Self:
        if len(self.thresholds) != len(self.curve):
            raise ValueError(f"{len(self.thresholds)} thresholds have {len(self.curve)} scores")
        return self


class _Scores(_Part):
    miou: Share | None


class _Shown(_Part):
    id: str
    caption: str
    kind: str
    of: str
    miou: Share | None
    tiles: dict[str, InnerPath]


class _LabelledClass(_Part):
    ap: Share | None
    f1: Share | None


class _MaskedClass(_Part):
    labelled: Count
    shown: Count
    area: Share


class _Labels(_Part):
    of: str
    classes: dict[str, _LabelledClass] = {}
    map: Share | None
    chance: Share | None
    is_learned: bool
    images: Count


class _Named(_Part):
    images: Count
    accuracy: Share | None
    taken_for: list[list[Share]]


class _Results(_Part):
    labels: _Labels | None = None
    named: dict[str, _Named] = {}
    held_out: _Judged | None = None
    classes: dict[str, _MaskedClass] = {}
    agreement: Agreement = 0
    quality: Agreement = 0
    learned: Share = 0
    empty: Count = 0
    images: Count = 0
    images_read: Count = 0
    maps: dict[InnerPath, _Judged] | str = ""
    threshold: Share = 0
    threshold_before: Share = 0
    threshold_from: str = ""
    class_thresholds: dict[str, Share] = {}
    scores: _Scores | None = None
    confusion: list[list[Count]] = []
    history: list[dict[str, float | None]] = []
    shown: list[_Shown] = []


class _Inputs(_Part):
    classes: list[ClassName] = []
    background: bool = True
    inputs: dict[str, Key] = {}


class _MapSet(_Part):
    name: str
    title: str
    threshold: Share | None
    folder: InnerPath
    finds: InnerPath = ""


class _Label(_Part):
    title: str = ""
    kind: str = ""
    colour: str = ""
    training: str = ""
    refiner: str = ""
    maker: str = ""
    base: str | None = None
    network: dict[str, str | int | None] = {}
    pretrained: str = ""
    licence: str = ""
    sets: list[_MapSet] = []
    made_from: str = Field("", alias="from")


class _Record(_Part):
    label: _Label = _Label()
    stage: str = ""
    key: Key = ""
    state: str = ""
    seconds: Amount = 0
    peak_memory_mb: Amount = 0
    peak_gpu_mb: Amount = 0
    files: Count = 0
    processes: Count = 0
    resumed: bool = False
    supervision: list[str] = []
    inputs: _Inputs = _Inputs()
    results: _Results = _Results()


class _Stage(_Part):
    key: Key
    label: _Label


class _RunMaps(_MapSet):
    stage: InnerPath
    scores: InnerPath


class _Models(_Part):
    classifier: InnerPath
    seeds: _RunMaps
    maps: _RunMaps
    inference: dict[str, Any]
    map_inference: dict[str, Any]


class _Settings(_Part):
    recipe: dict[str, Any]
    packages: dict[str, str] = {}
    stages: dict[InnerPath, _Stage]
    models: _Models


class _Problem(_Part):
    kind: str
    where: str
    message: str


class _Check(_Part):
    problems: list[_Problem]


_NEEDED: Mapping[str, tuple[str, ...]] = {
    MAP_SCORES: ("images", "maps"),
    MASK_SCORES: ("images", "scores", "confusion"),
    PREDICTIONS: ("images", "scores", "confusion"),
    MASKS: ("images", "maps", "threshold", "threshold_from"),
    MAPS: ("images",),
    REFINED_MAPS: ("images",),
    PICTURES: ("shown",),
    HELD_OUT: ("named", "held_out"),
}
"""What readers take from the results of a finished stage, by its kind."""

_JUDGED = ("oracle", "otsu")


def check_record(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``stage.json``. Raises `StoreError` naming file, field and value of all that cannot be."""
    return _check(path, content, _Record)


def check_finished(path: Path, content: dict[str, Any], kind: str) -> dict[str, Any]:
    """`check_record`, and whether all is there that readers of a finished stage of this kind take. Raises `StoreError`,
    with what is missing."""
    check_record(path, content)
    if content.get("state") != "done":
        return content
    missing = [name for name in ("seconds", "peak_memory_mb", "results") if name not in content]
    missing += [f"results.{name}" for name in _NEEDED.get(kind, ()) if name not in content.get("results", {})]
    rows = content.get("results", {}).get("confusion", [])
    if len({len(row) for row in rows} | {len(rows) + 1}) > 1 and rows:
        missing.append("a part of results.confusion")
    maps = content.get("results", {}).get("maps")
    if maps is not None and isinstance(maps, str) == (kind == MAP_SCORES):
        missing.append("what results.maps holds in this stage")
    elif isinstance(maps, dict):
        missing += [
            f"results.maps.{name}.{each}" for name, judged in maps.items() for each in _JUDGED if each not in judged
        ]
    if missing:
        raise _damaged(path, [f"{name} is missing" for name in missing])
    return content


def read_records(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Records of the finished stages that the settings in force name, in order, each with the label of these settings.

    Their own labels may differ: stages that were taken over, or kept, were made under others. Raises `StoreError` for a
    damaged record.
    """
    records = {}
    for name, stage in read_run(folder.root)["stages"].items():
        found = folder.at(name, stage["key"])
        if found.claims_done:
            record = check_finished(found.path / RECORD, found.record, stage["label"].get("kind", ""))
            records[name] = {**record, "label": stage["label"]}
    return records


def check_settings(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``run.json``. Raises `StoreError` as `check_record` does."""
    return _check(path, content, _Settings)


def read_problems(path: Path) -> list[Problem]:
    """What the check of a data set found, from its ``check.json``. Raises `StoreError` for a missing or damaged
    file."""
    try:
        return [Problem(**one.model_dump()) for one in _Check.model_validate(read_json(path)).problems]
    except ValidationError as error:
        raise _damaged(path, [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]) from error


def _check(path: Path, content: dict[str, Any], model: type[_Part]) -> dict[str, Any]:
    try:
        model.model_validate(content)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}, got {str(one['input'])[:60]!r}" for one in error.errors()
        ]
        raise _damaged(path, wrong) from error
    return content


def _damaged(path: Path, problems: list[str]) -> StoreError:
    more = f"; … and {len(problems) - 3} more" if len(problems) > 3 else ""
    return StoreError(
        f"{path} is damaged: {'; '.join(problems[:3])}{more}. Delete it; the same command makes it again."
    )
