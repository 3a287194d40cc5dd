"""Fig. 4 and §4.2: gradients of both losses on the target's logit and on the most confusing one, recorded on held-out
images after each epoch of trainings by BCE and by SCE."""

from __future__ import annotations

from recam.runfolder.store import read_run
from recam.runfolder.summary import RunSummary
from recam.studies.confusable import accuracy, confusable
from recam.studies.figures import Lines, over_epochs
from recam.studies.study import Column, Measure, Study, studies

PARTS = {"target": "target class", "confusing": "most confusing class"}
TITLE = "gradient on the logit"


@studies.register("gradients")
def gradients() -> Study:
    """The rows of `confusable`, with a fifth of the training images held out for the gradients."""
    recorded = {"training": "cam_gradients", "train.held_out": 0.2}
    rows = {row: {**own, **recorded} for row, own in confusable().rows.items()}
    few = [row for row in rows if row.startswith("confusable")]
    columns = [
        Column(f"{PARTS[part]}, {when} epoch", gradient(part, index), 4)
        for part in PARTS
        for when, index in (("first", 0), ("last", -1))
    ]
    figures = (
        over_epochs("gradients", "Fig. 4: each training's own loss", TITLE, own_gradients, few),
        over_epochs("same-logits", "Both losses on the logits of BCE's training", TITLE, both_gradients, few[:1]),
        over_epochs("all-classes", "The same of all classes", TITLE, own_gradients, list(rows)[:2]),
    )
    title = "Fig. 4: gradients of BCE and SCE on logits; BCE's are divided by the number of classes (eq. 12)"
    every = (*columns, Column("accuracy, val", accuracy("val")))
    return Study(title, "recam-cpu", rows, every, "maps", figures=figures, free=("data.classes",))


def own_gradients(summary: RunSummary) -> Lines:
    """Mean gradient after each epoch, of the loss that the run was trained by."""
    loss = read_run(summary.root)["recipe"]["cam"]["loss"]
    found = {words: _history(summary, f"gradient_{loss}_{part}") for part, words in PARTS.items()}
    return {line: values for line, values in found.items() if values}


def both_gradients(summary: RunSummary) -> Lines:
    """The same of both losses."""
    found = {
        f"gradient of {loss.upper()}, {words}": _history(summary, f"gradient_{loss}_{part}")
        for loss in ("bce", "sce")
        for part, words in PARTS.items()
    }
    return {line: values for line, values in found.items() if values}


def gradient(part: str, index: int) -> Measure:
    """Mean gradient of the run's own loss after the epoch of that index."""

    def measure(summary: RunSummary) -> float | None:
        found = own_gradients(summary).get(PARTS[part])
        return found[index] if found else None

    return measure


def _history(summary: RunSummary, name: str) -> list[float]:
    epochs = summary.records.get("train/cam_gradients", {}).get("results", {}).get("history", [])
    return [each[name] for each in epochs if name in each]
