"""What a study is: rows of settings, times seeds, each a run; and the numbers that are taken of each run.

A study of one's own is a file with a function, entered here or through the entry points ``recam.studies``::

    @studies.register("mine")
    def mine() -> Study:
        return Study("What it shows", "recam-cpu", {"without": {}, "with": {"refine": ["mine"]}}, (MAPS, MINUTES))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recam.errors import RecipeError
from recam.recipe.recipe import load_recipe
from recam.registry import Registry
from recam.runfolder import kinds
from recam.runfolder.costs import cumulative_minutes
from recam.runfolder.summary import RunSummary

if TYPE_CHECKING:
    from recam.report.figures import Figure
    from recam.studies.result import StudyResult

Measure = Callable[[RunSummary], float | None]
Drawing = Callable[["StudyResult"], "Figure | None"]
"""A figure of all finished runs; None where there is nothing to show."""


@dataclass(frozen=True)
class Times:
    """In the place of a row's setting: so many times what the recipe has there, whichever it is."""

    factor: float


@dataclass(frozen=True)
class FromRow:
    """In the place of a row's setting: what the runs of a row before it show, unless the command names the setting.

    Attributes:
        row: that is read, with the first of the seeds.
        find: its run → the setting's value.
        words: what that is, for the page of a study that has not come so far.
    """

    row: str
    find: Callable[[RunSummary], Any]
    words: str


class Unnamed:
    """In the place of a row's setting: the recipe's own, also where the command names one for other rows."""


@dataclass(frozen=True)
class Column:
    """A number that each run gives.

    Attributes:
        title: head of the column.
        measure: the number of a finished run; None where it has none.
        digits: after the point.
        unit: name of the row in whose values, seed by seed, those of all rows are given; empty: as they are.
    """

    title: str
    measure: Measure
    digits: int = 2
    unit: str = ""


@dataclass(frozen=True)
class Study:
    """A table of runs.

    Attributes:
        title: what it shows, and where the published table stands.
        recipe: what every row starts from.
        rows: settings of each row by its name, laid over the recipe.
        columns: numbers of each run.
        until: stop each run after this group of stages; None: at its end.
        published: numbers of the paper by row and column title, shown beside ours.
        published_on: what the paper's numbers were measured on, e.g. ``VOC 2012 train, ResNet-50``.
        figures: drawn of all runs once they are finished, see `recam.studies.figures`; none: each column's mean and
            deviation, row by row.
        free: settings of some rows that a command may name as well, for the rows that do not have them.
        may_diverge: a training whose loss is no number any more is a result: the row has none, and the study goes on.
        needs: settings by name, in words: a row that does not set one itself is left out, and the page states so, where
            neither recipe nor command has a value for it.
    """

    title: str
    recipe: str
    rows: Mapping[str, Mapping[str, Any]]
    columns: Sequence[Column]
    until: str | None = None
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    published_on: str = ""
    figures: Sequence[Drawing] = ()
    free: Sequence[str] = ()
    may_diverge: bool = False
    needs: Mapping[str, str] = field(default_factory=dict)

    def settings_of(self, row: str, recipe: str, laid: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a row over a recipe, with those of the command, which hold for every row.

        Raises:
            RecipeError: a setting that the recipe does not have, or no such recipe.

        Returns:
            by name, without those that another row must be run for first.
        """
        own = self.rows[row]
        settings = dict(own) | {
            name: value for name, value in laid.items() if name not in own or isinstance(own[name], FromRow)
        }
        settings = {name: value for name, value in settings.items() if not isinstance(value, FromRow | Unnamed)}
        if any(isinstance(value, Times) for value in own.values()):
            rest = {name: value for name, value in settings.items() if not isinstance(value, Times)}
            base = load_recipe(recipe, rest).as_dict()
            settings |= {name: _times(base, name, value) for name, value in own.items() if isinstance(value, Times)}
        return settings


def shown_settings(own: Mapping[str, Any]) -> dict[str, Any]:
    """A row's settings, JSON-ready."""
    found = {name: value for name, value in own.items() if not isinstance(value, Unnamed)}
    return {name: value.words if isinstance(value, FromRow) else value for name, value in found.items()}


def value_of(recipe: Mapping[str, Any], name: str) -> Any:
    """The value of a setting, ``section.field`` or one outside sections. Raises `KeyError` where there is none."""
    section, _, setting = name.partition(".")
    return recipe[section][setting] if setting else recipe[section]


def _times(recipe: Mapping[str, Any], name: str, times: Times) -> float:
    try:
        return float(f"{times.factor * float(value_of(recipe, name)):.12g}")  # 0.018, not 0.018000000000000002
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"{name}: the recipe has no number there that could be multiplied.") from error


studies: Registry[Callable[[], Study]] = Registry("study", "recam.studies", ("recam.studies",))


def final_maps(summary: RunSummary) -> str:
    """Name of the scored class maps that the pseudo masks come from, of a study that ends before, the last; empty
    without any."""
    found = summary.as_dict()
    return str(found["masks"]["maps"] or next(reversed(found["maps"]), ""))


def maps_miou(summary: RunSummary) -> float | None:
    """mIoU (%) of the class maps that the pseudo masks come from, at the oracle threshold."""
    found = summary.as_dict()["maps"]
    maps = found.get(final_maps(summary))
    return 100 * maps["miou"] if maps and maps.get("miou") is not None else None


def model_miou(summary: RunSummary) -> float | None:
    """mIoU (%) of the segmentation model on held-out images."""
    score = summary.as_dict()["segmentation"]["pseudo"]
    return None if score is None else 100 * score


def total_minutes(summary: RunSummary) -> float | None:
    """Cumulative compute time (minutes) of the masks; of the last maps where a study ends before masks are made."""
    order = ((kinds.MAPS, kinds.REFINED_MAPS), (kinds.MASKS,))
    by_kind = {name: record.get("label", {}).get("kind") for name, record in summary.records.items()}
    made = [name for wanted in order for name, kind in by_kind.items() if kind in wanted]
    return cumulative_minutes(summary.records, made[-1]) if made else None


MAPS = Column("mIoU of maps, oracle", maps_miou)
MODEL = Column("mIoU of the model, held-out", model_miou)
MINUTES = Column("minutes", total_minutes, 1)
