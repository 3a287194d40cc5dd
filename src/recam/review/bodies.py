"""What requests to the review page hold, and what they are answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recam.review.decisions import Event, Verdict


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Thresholds(_Body):
    """A layer of maps and the thresholds that make masks of it."""

    layer: str = Field(description="Name of the layer, e.g. maps/recam/mul.")
    threshold: float = Field(ge=0, le=1, description="Of all classes that are not named below.")
    class_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field({}, description="By class name.")


class Decision(_Body):
    """A decision on one image or on many at once."""

    tab: str = Field(
        min_length=1, max_length=64, pattern=r"^[\w-]+$", description="Name of the browser tab; undo works by tab."
    )
    images: list[int] = Field(min_length=1, max_length=200_000, description="Numbers of the images.")
    verdict: Verdict | None = Field(None, description="Accept or reject the mask, or take that back (open).")
    layer: str | None = Field(
        None, description="The layer that was shown; needed to accept. `corrected`: the image's own corrected mask."
    )
    threshold: float | None = Field(None, ge=0, le=1, description="Of a layer of maps; default: the layer's own.")
    class_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, description="Of a layer of maps, by class name."
    )
    labels: list[str] | None = Field(None, description="All image labels as they should be, by name.")


class Together(_Body):
    """Several decisions that are one: with one undo."""

    decisions: list[Decision] = Field(min_length=1, max_length=200_000, description="All of the same tab.")


class Undo(_Body):
    """Whose last decision is undone, or counts again."""

    tab: str = Field(min_length=1, max_length=64, pattern=r"^[\w-]+$")


class Export(_Body):
    """Where and how to export."""

    name: str = Field(
        "export", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$", description="New folder below RUN/review/exports."
    )
    photos: Literal["copy", "link"] = "copy"
    everything: bool = Field(
        False, description="Also images that are rejected or not reviewed, with labels, without mask."
    )


class Changed(BaseModel):
    """What has changed since a line of the log."""

    latest: int = Field(description="Number of the last line; send it as `since` next time.")
    states: dict[int, dict[str, Any]] = Field(description="By image number: verdict, source, labels, mask, tab, stale.")
    jobs: list[dict[str, Any]] = Field(description="Work beside the page: name, done, total, state, message.")


class Reverted(Changed):
    """What was undone, or counts again."""

    decision: str = Field(description="E.g. `accept of IMAGE`, `labels of 12 images`.")


def describe_decision(lines: Sequence[Event]) -> str:
    """The lines of a decision as words: what it set, and of which image or how many."""
    ids = list(dict.fromkeys(name for line in lines for name in line.ids))
    fields: dict[str, Any] = {}
    for line in lines:
        fields |= line.set
    verdicts = {"accepted": "accept", "rejected": "reject", "open": "taking back"}
    what = "corrected mask" if fields.get("mask") else verdicts.get(fields.get("verdict", ""), "labels")
    return f"{what} of {ids[0] if len(ids) == 1 else f'{len(ids)} images'}"
