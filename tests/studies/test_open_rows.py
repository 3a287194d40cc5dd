"""Rows that hang on something: on what a row before shows, on what the command names, on what a run has."""

from pathlib import Path

import pytest

from recam.errors import RecipeError
from recam.pipeline.maker import makers
from recam.pipeline.refiner import refiner_steps
from recam.pipeline.segment_loss import segment_losses
from recam.pipeline.training import trainings
from recam.runfolder.summary import RunSummary
from recam.studies import confusable, field
from recam.studies import run as module
from recam.studies.run import run_study
from recam.studies.study import MAPS, FromRow, Study, Unnamed, studies

NAMES = ["cow", "horse"]


@pytest.fixture
def given(monkeypatch, tmp_path):
    """What each run is given, by row number; nothing is run."""
    calls = {}

    def note(data, recipe, folder, settings, until):
        calls[folder.name] = settings
        return RunSummary(Path(folder.name), (), (), {})

    monkeypatch.setattr(module, "run", note)
    monkeypatch.setattr(module, "_facts", lambda *arguments: {})
    return calls


def enter(monkeypatch, rows, **more):
    monkeypatch.setitem(studies._entries, "toy", lambda: Study("A toy", "tiny", rows, (MAPS,), "masks", **more))


def two_rows(find):
    open_row = FromRow("first", find, "what the first row shows")
    return {"first": {"data.classes": Unnamed()}, "second": {"data.classes": open_row, "cam.epochs": 2}}


def test_a_row_takes_what_a_row_before_shows_with_the_first_seed(monkeypatch, tmp_path, given):
    read = []
    enter(monkeypatch, two_rows(lambda summary: read.append(summary.root.name) or NAMES))
    found = run_study("toy", output=tmp_path, seeds=[4, 5])
    assert read == ["toy-01-seed-4"]
    assert "data.classes" not in given["toy-01-seed-4"]
    assert [given[f"toy-02-seed-{seed}"]["data.classes"] for seed in (4, 5)] == [NAMES, NAMES]
    assert '- second: `data.classes=["cow", "horse"]`, `cam.epochs=2`' in found.markdown
    assert "- first: none" in found.markdown
    assert found.as_dict()["rows"]["first"]["settings"] == {}


def test_before_that_the_page_has_it_in_words(monkeypatch, tmp_path, given):
    def broken(summary):
        raise KeyboardInterrupt

    enter(monkeypatch, two_rows(broken))
    with pytest.raises(KeyboardInterrupt):
        run_study("toy", output=tmp_path)
    page = (tmp_path / "toy" / "study.md").read_text()
    assert '- second: `data.classes="what the first row shows"`' in page


def test_the_command_may_name_it_instead(monkeypatch, tmp_path, given):
    enter(monkeypatch, two_rows(lambda summary: pytest.fail("it was named")), free=("data.classes",))
    run_study("toy", output=tmp_path, settings={"data.classes": ["bear", "sheep"]})
    assert "data.classes" not in given["toy-01-seed-0"]
    assert given["toy-02-seed-0"]["data.classes"] == ["bear", "sheep"]


def test_rows_without_what_they_need_are_left_out_with_a_sentence(monkeypatch, tmp_path, given):
    rows = {"plain": {"saliency.source": ""}, "salient": {"training": "eps"}, "too": {"refine": ["edam"]}}
    enter(monkeypatch, rows, needs={"saliency.source": "saliency maps"}, free=("saliency.source",))
    found = run_study("toy", output=tmp_path)
    assert list(given) == ["toy-01-seed-0"]
    assert "- left out: salient, too, without saliency maps: set saliency.source" in found.markdown
    assert found.is_complete
    given.clear()
    found = run_study("toy", output=tmp_path, settings={"saliency.source": "maps"})
    assert [each["saliency.source"] for each in given.values()] == ["", "maps", "maps"]
    assert "left out" not in found.markdown


def test_a_study_of_which_no_row_is_left_is_refused(monkeypatch, tmp_path, given):
    enter(monkeypatch, {"salient": {"training": "eps"}}, needs={"saliency.source": "saliency maps"})
    with pytest.raises(RecipeError, match=r"has no row left: salient, without saliency maps: set saliency\.source"):
        run_study("toy", output=tmp_path)


PARTS_OF_OTHERS = {
    "control", "probe", "tuned", "cam_gradients", "oaa_classifier", "nsrom_classifier", "cross_entropy",
    "self_training", "crf", "pamr", "feature_affinity", "attention", "ts_cam", "clip_es", "sam_votes",
}  # fmt: skip
"""Comparisons, parts that are no published system of the field, what needs a transformer, and what needs files of
CLIP's or Segment Anything's that a run does not have."""


def test_every_system_of_the_registries_is_a_row_of_field():
    """One that is added is a line of `recam.studies.field`."""
    rows = studies["field"]().rows.values()
    named = [(row["training"], row["maker"], row.get("segment.loss"), *row["refine"]) for row in rows]
    used = {name for row in named for name in row}
    assert {*trainings, *makers, *refiner_steps, *segment_losses} - PARTS_OF_OTHERS <= used
    assert not set(field.WITHOUT) & set(field.WITH)


def judged(root: Path, names, taken_for, location="folder:photos") -> RunSummary:
    """A finished run with a stage on held-out images."""
    named = {"val": {"images": 4, "accuracy": 0.75, "taken_for": taken_for}, "train": {"accuracy": None}}
    results = {"named": named, "held_out": {"oracle": {"threshold": 0.2, "miou": 0.5}}}
    record = {"label": {"kind": "held-out images"}, "results": results, "inputs": {"classes": names}}
    return RunSummary(root, (), (), {"held_out/cam": record})


@pytest.mark.parametrize(
    ("location", "names", "chosen"),
    [
        ("folder:photos", ["cow", "horse", "car", "boat"], ["car", "boat"]),
        ("voc:VOC2012", ["cow", "horse", "car", "boat"], ["cow", "horse"]),
        ("coco:coco2014", ["cow", "tram", "car", "boat"], ["car", "boat"]),  # one of the paper's is no set
    ],
)
def test_confusable_classes_are_the_paper_s_or_are_found(monkeypatch, tmp_path, location, names, chosen):
    monkeypatch.setattr(confusable, "read_run", lambda root: {"recipe": {"data": {"location": location}}})
    table = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.6, 0.4], [0, 0, 0.1, 0.9]]
    assert confusable.confusable_classes(judged(tmp_path, names, table)) == chosen


def test_numbers_of_held_out_images(tmp_path):
    summary = judged(tmp_path, NAMES, [[1, 0], [0, 1]])
    assert confusable.accuracy("val")(summary) == 75
    assert confusable.accuracy("train")(summary) is None
    assert confusable.held_out_miou(summary) == 50
    empty = RunSummary(tmp_path, (), (), {})
    assert (confusable.accuracy("val")(empty), confusable.held_out_miou(empty)) == (None, None)
