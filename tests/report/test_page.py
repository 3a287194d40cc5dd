"""The report end to end: of finished, half-done, unscored and several runs; what it holds, and that it needs nothing
else."""

import csv
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from unittest.mock import patch

import pytest

import recam
from recam.errors import StoreError
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import write_toml
from recam.report import page
from recam.report.charts import losses
from recam.report.page import write_report
from recam.report.reading import Outcome, read_runs
from recam.report.series import colour_of, fill_colours
from recam.report.tables import class_table, data_table, training_table, truth_table
from recam.report.words import headline
from recam.runfolder.store import read_json

FIGURES = {"scores", "thresholds", "classes", "errors", "labels", "loss-classifier", "loss-segmentation", "costs"}
FIGURES |= {"confusion-scores-masks", "confusion-predictions-pseudo"}


VOID = {"meta", "img", "br"}


class Elements(HTMLParser):
    """Collects addresses, and refuses elements that are opened and never closed."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(tiny_run, tmp_path_factory):
    """Of the finished tiny run."""
    return write_report(tiny_run, tmp_path_factory.mktemp("report") / "out" / "tiny.html")


def test_a_finished_run_gives_one_file_that_needs_nothing_else(tiny_run, report):
    text = report.path.read_text(encoding="utf-8")
    elements = Elements(text)
    assert not elements.open
    assert all(address.startswith(("data:", "#")) for address in elements.addresses)
    assert len(text) < 5_000_000
    assert "undefined" not in text.split("<svg")[0]
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("data:image/jpeg") == 6 + 9 * 6 + 3 * 3  # strip, best/median/worst masks, and held-out images
    drawn = re.sub(r"data:[^\"]+|<style>.*?</style>", "", text, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{6}", drawn), "a colour escapes dark mode"
    score = read_json(tiny_run / "scores/masks/stage.json")["results"]["scores"]["miou"]
    assert f"{100 * score:.1f}" in text
    assert str(report).startswith(
        f"{100 * score:.1f} % mIoU of the pseudo masks on 12 images, made from ReCAM w′ at threshold"
    )


def test_every_figure_comes_as_svg_png_and_csv_with_its_numbers(tiny_run, report):
    found = {path.name for path in report.figures.iterdir()}
    assert found == {f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png", "csv")}
    assert all((report.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in FIGURES)
    rows = list(csv.DictReader((report.figures / "thresholds.csv").open(encoding="utf-8")))
    judged = read_json(tiny_run / "scores/recam/stage.json")["results"]["maps"]["recam w_prime"]
    assert [float(row["mIoU"]) for row in rows if row["maps"] == "ReCAM w′"] == pytest.approx(judged["curve"])
    assert [float(row["threshold"]) for row in rows if "oracle" in row["used as"]][1] == judged["oracle"]["threshold"]
    ious = read_json(tiny_run / "scores/masks/stage.json")["results"]["scores"]["iou"]
    shown = {
        row["class"]: row["Pseudo masks"]
        for row in csv.DictReader((report.figures / "classes.csv").open(encoding="utf-8"))
    }
    assert {name: float(value) if value else None for name, value in shown.items()} == pytest.approx(ious)
    for row in csv.reader((report.figures / "errors.csv").open(encoding="utf-8")):
        if row[0] == "Pseudo masks":
            assert (
                sum(map(int, row[1:])) == read_json(tiny_run / "scores/masks/stage.json")["results"]["scores"]["pixels"]
            )


def test_figures_of_an_earlier_report_do_not_stay(copy_of_tiny_run, stop_after):
    report = write_report(copy_of_tiny_run)
    assert report.path == copy_of_tiny_run / "report" / "report.html"
    write_report(stop_after(copy_of_tiny_run, "train/cam"))
    assert {path.stem for path in report.figures.iterdir()} == {"loss-classifier", "costs"}


def test_a_run_stopped_after_its_classifier(copy_of_tiny_run, stop_after):
    report = write_report(stop_after(copy_of_tiny_run, "train/cam"))
    text = report.path.read_text(encoding="utf-8")
    loss = read_json(copy_of_tiny_run / "train/cam/stage.json")["results"]["history"][0]["loss"]
    assert str(report).startswith(
        f"{loss:.3f} is the training loss of CAM after 1 epoch; class maps are still to be made."
    )
    assert "The run has not finished: " in str(report)
    assert "There are no pictures yet" in text
    assert not Elements(text).open


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        ("maps/cam", "12 images have class maps; pseudo masks are still to be made."),
        ("scores/cam", "mIoU of CAM on 12 images, at threshold"),
        ("scores/recam", "mIoU of ReCAM w′ on 12 images, at threshold"),
        ("masks", "Pseudo masks|mIoU of ReCAM w′"),
    ],
)
def test_the_first_sentence_says_how_far_a_run_has_come(copy_of_tiny_run, stop_after, last, shown):
    (view,) = read_runs([stop_after(copy_of_tiny_run, last)])
    assert re.search(shown, str(headline([view])))
    page.render([view], headline([view]), [])


def test_a_run_that_has_only_begun(copy_of_tiny_run, stop_after):
    stop_after(copy_of_tiny_run, "train/cam")
    (copy_of_tiny_run / "train" / "cam" / "stage.json").unlink()
    report = write_report(copy_of_tiny_run)
    assert "No results yet" in str(report)
    assert list(report.figures.glob("*")) == []


def test_a_run_without_truth(copy_of_tiny_run):
    record = json.loads((copy_of_tiny_run / "run.json").read_text())
    record["stages"] = {
        name: stage for name, stage in record["stages"].items() if not name.startswith(("scores", "predictions"))
    }
    (copy_of_tiny_run / "run.json").write_text(json.dumps(record))
    report = write_report(copy_of_tiny_run)
    assert re.match(r"12 pseudo masks, made from ReCAM w′ at threshold 0\.\d\d\. There are no true masks", str(report))
    assert {path.stem for path in report.figures.iterdir()} == {"loss-classifier", "loss-segmentation", "costs"}


def test_pictures_of_a_run_without_truth(copy_of_tiny_run):
    """Twelve evenly over all images, and those that agree least with the others."""
    path = copy_of_tiny_run / "pictures/stage.json"
    record = json.loads(path.read_text())
    overview = [each for each in record["results"]["shown"] if each["kind"] == "overview"]
    record["results"]["shown"] = [*overview, {**overview[0], "kind": "worst"}]
    path.write_text(json.dumps(record))
    text = write_report(copy_of_tiny_run).path.read_text(encoding="utf-8")
    Elements(text)
    assert "evenly over all images" in text
    assert "those that agree least with the others" in text
    assert "Pseudo masks</h2>" in text
    assert text.count('<div class="row">') == len(overview) + 1
    assert re.search(r'<img src="data:image/jpeg;base64,[^"]+" alt="image" width="64" height="64"', text)


def test_what_labels_and_images_tell(copy_of_tiny_run):
    """Of a run without truth: its classifiers, its classes, and quality, each in the record of a stage."""
    settings = json.loads((copy_of_tiny_run / "run.json").read_text())
    names = read_json(copy_of_tiny_run / "masks/stage.json")["inputs"]["classes"]
    judged = {name: {"ap": 0.5, "f1": None} for name in names} | {names[0]: {"ap": 0.91, "f1": 0.8}}
    labels = {"of": "held-out images", "map": 0.75, "chance": 0.2, "is_learned": True, "images": 40, "classes": judged}
    shown = {name: {"labelled": 4, "shown": 3, "area": 0.125} for name in names}
    changed = {
        "train/recam": {"labels": labels},
        "masks": {"classes": shown, "empty": 2},
        "pictures": {"agreement": 0.4, "learned": 0.5, "quality": 0.2},
    }
    settings["stages"] = {
        name: each for name, each in settings["stages"].items() if not name.startswith(("scores", "predictions"))
    }
    settings["stages"]["pictures"]["label"]["kind"] = "quality"
    (copy_of_tiny_run / "run.json").write_text(json.dumps(settings))
    for stage, more in changed.items():
        path = copy_of_tiny_run / stage / "stage.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"results": record["results"] | more}))
    (view,) = read_runs([copy_of_tiny_run])
    rows = {title: (taken, [each.text for each in cells]) for title, taken, cells in training_table(view)}
    assert rows["ReCAM"] == (True, ["75.0", "20.0", "–", "–"])
    assert not rows["CAM"][0]
    table = {name: [each.text for each in cells] for name, cells in class_table(view)}
    assert table[names[0]] == ["91.0", "80.0", "4", "3", "12.5"]
    assert table[names[1]] == ["50.0", "–", "4", "3", "12.5"]
    told = str(write_report(copy_of_tiny_run))
    assert "Quality 0.20 of 1: 50.0 % of held-out labels learned × agreement with the images 0.40." in told
    assert "2 images with a label have an empty mask." in told
    view.records["agreements/recam"] = {"results": {"agreement": 0.3}}
    view.records["thresholds/recam"] = {"results": {"agreement": 0.6, "threshold": 0.2}}
    vars(view)["has_background"] = False  # known from when it was first asked for
    (cells,) = (cells for title, _, cells in training_table(view) if title == "ReCAM")
    assert [each.text for each in cells[2:]] == ["0.30", "–"]


def test_each_class_in_digits(tiny_run):
    """Of masks and model: IoU, F1 = 2 IoU / (1 + IoU), the means, the boundary IoU of the record."""
    (view,) = read_runs([tiny_run])
    found = truth_table(view)
    assert found.titles == ("Pseudo masks", "Segmentation model")
    record = read_json(tiny_run / "scores/masks/stage.json")["results"]["scores"]
    rows = {name: [each.text for each in cells] for name, cells in found.rows}
    assert list(rows) == [*record["iou"], "mean", "boundary IoU"]
    iou = record["iou"]["background"]
    assert rows["background"][:2] == [f"{100 * iou:.1f}", f"{200 * iou / (1 + iou):.1f}"]
    assert rows["mean"][:2] == [f"{100 * record['miou']:.1f}", f"{100 * record['f1']:.1f}"]
    assert rows["boundary IoU"][:2] == [f"{100 * record['boundary_iou']:.1f}", ""]
    scores = view.headline.scores(view.classes)
    absent = replace(scores, iou=(math.nan, *scores.iou[1:]))
    with patch.object(Outcome, "scores", lambda self, classes, group=None: absent):
        assert [each.text for each in truth_table(view).rows[0][1]] == ["–"] * 4


def test_what_the_data_set_holds(tiny_run, copy_of_tiny_run, report):
    (view,) = read_runs([tiny_run])
    facts, checked = dict(data_table(view)), read_json(tiny_run / "check/check.json")
    assert facts["images"] == f"{checked['images']}, {checked['unlabelled']} of them without a label"
    assert facts["trained on"].startswith(
        f"{checked['roles']['train']}: {checked['splits']['train']['images']} images, "
    )
    assert all(f"{name} {count}" in facts["classes"] for name, count in checked["images_per_class"].items())
    assert "Data set</h2>" in report.path.read_text()
    (copy_of_tiny_run / "check/check.json").write_text('{"images": 3}')
    assert data_table(*read_runs([copy_of_tiny_run])) == []


def test_results_of_earlier_settings_are_not_shown(copy_of_tiny_run):
    record = json.loads((copy_of_tiny_run / "run.json").read_text())
    record["stages"]["scores/masks"]["key"] = "another"
    (copy_of_tiny_run / "run.json").write_text(json.dumps(record))
    (view,) = read_runs([copy_of_tiny_run])
    assert view.find("scores/masks") is None
    assert view.missing == ["scores/masks"]


def test_a_run_of_a_version_that_kept_fewer_numbers(copy_of_tiny_run):
    for path in [*copy_of_tiny_run.glob("scores/*/*.npz"), *copy_of_tiny_run.glob("predictions/*/*.npz")]:
        path.unlink()
    report = write_report(copy_of_tiny_run)
    assert {path.stem for path in report.figures.iterdir()} == FIGURES - {"labels"}


def test_refined_maps_are_shown_by_whatever_title_they_have(copy_of_tiny_run):
    add_scores(copy_of_tiny_run, "scores/recam+mine", "recam w_prime + mine", "ReCAM w′ + Mine", refiner="Mine")
    (run,) = read_runs([copy_of_tiny_run])
    assert [found.title for found in run.maps] == ["CAM", "ReCAM w′", "ReCAM w′ + Mine"]
    assert len({colour_of([run], run, found) for found in run.maps}) == 3  # not in the colour of what they are made of


def test_methods_that_nobody_knows_are_shown_by_their_labels_alone(copy_of_tiny_run):
    """Trainings, sets and colours of another package: the file ``run.json`` says all there is to know."""
    path = copy_of_tiny_run / "run.json"
    text = path.read_text().replace('"title": "CAM"', '"title": "Eight"').replace('"title": "ReCAM', '"title": "Nine')
    path.write_text(text.replace('"colour": "orange"', '"colour": "no such"'))
    (run,) = read_runs([copy_of_tiny_run])
    assert [found.title for found in run.maps] == ["Eight", "Nine w′"]
    assert run.baseline is run.maps[0]
    assert re.search(r"made from Nine w′ at .* points (above|below) Eight\.", str(headline([run])))
    report = write_report(copy_of_tiny_run)
    shown = report.path.read_text(encoding="utf-8").partition("<h2>Settings")[0]
    words = re.sub(r"data:[^\"]+|<style>.*?</style>|<path.*?/>", "", shown, flags=re.DOTALL)
    assert "Nine w′" in words
    tiles, stages = r"<figcaption>(Re)?CAM[^<]*|alt=\"(Re)?CAM[^\"]*", r"(train|maps|scores)/(re)?cam"
    assert not re.search("CAM", re.sub(f"{tiles}|{stages}", "", words))
    header = next(csv.reader((report.figures / "scores.csv").open(encoding="utf-8")))
    assert "in units of Eight" in header


def test_a_training_continues_where_the_one_it_starts_from_ended(tiny_run):
    (run,) = read_runs([tiny_run])
    assert (run.first_epoch("train/cam"), run.first_epoch("train/recam")) == (0, 1)
    (figure,) = (each for each in losses([run]) if each.name == "loss-classifier")
    assert {row[:2] for row in figure.table[1:]} == {
        ("CAM", 1), ("ReCAM", 2), ("ReCAM: bce", 2), ("ReCAM: sce", 2),
    }  # fmt: skip


def test_losses_of_any_network_are_drawn(copy_of_tiny_run):
    record = json.loads((copy_of_tiny_run / "train/cam/stage.json").read_text())
    add_stage(copy_of_tiny_run, "mine/network", record, {"title": "Mine on CAM", "kind": "refiner's network"})
    add_stage(copy_of_tiny_run, "mine/other", record, {"title": "Other"})
    names = {figure.name: figure.title for figure in losses(read_runs([copy_of_tiny_run]))}
    assert names["loss-refiner"] == "Loss of the refiners' networks"
    assert names["loss-other"] == "Loss: other trainings"


def add_stage(run, name, record, label):
    settings = json.loads((run / "run.json").read_text())
    settings["stages"][name] = {"key": record["key"], "label": label}
    (run / "run.json").write_text(json.dumps(settings))
    folder = run / ".stages" / name / record["key"]
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps(record))


def add_scores(run, stage, name, title, **label):
    """Scores of another set of maps in a run, a copy of those of ReCAM's."""
    record = json.loads((run / "scores/recam/stage.json").read_text())
    record["results"]["maps"] = {name: record["results"]["maps"]["recam w_prime"]}
    sets = [{"name": name, "title": title, "threshold": 0.5, "folder": ""}]
    add_stage(run, stage, record, {**record["label"], "title": title, "sets": sets, **label})


def test_two_runs_side_by_side_with_their_differences(tiny_run, copy_of_tiny_run):
    path = copy_of_tiny_run / "scores/masks/stage.json"
    record = json.loads(path.read_text())
    before = record["results"]["scores"]["miou"]
    record["results"]["scores"]["miou"] = before + 0.123
    path.write_text(json.dumps(record))
    settings = json.loads((copy_of_tiny_run / "run.json").read_text())
    settings["recipe"]["masks"]["threshold"] = 0.77
    (copy_of_tiny_run / "run.json").write_text(json.dumps(settings))
    renamed = copy_of_tiny_run.rename(copy_of_tiny_run.with_name("other"))
    report = write_report([renamed, tiny_run])
    assert report.path == renamed / "comparison" / "report.html"
    assert str(report).startswith(
        f"{100 * before + 12.3:.1f} % mIoU of the pseudo masks of other: 12.3 points above run."
    )
    text = report.path.read_text(encoding="utf-8")
    assert not Elements(text).open
    assert '<small class="worse">−12.3</small>' in text
    assert re.search(r"masks\.threshold</code></th><td><code>0\.77</code></td><td><code>0\.21", text)
    assert "cam.epochs" not in text
    assert text.count("data:image/jpeg") == 2 * 6
    rows = list(csv.DictReader((report.figures / "costs.csv").open(encoding="utf-8")))
    assert {row["run"] for row in rows} == {"other", "run"}


def test_folders_that_are_no_runs_are_reported_all_at_once(tiny_run, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(StoreError, match=r"(?s)photos is no run folder.*none is no run folder.*is named twice"):
        write_report([tiny_run, tmp_path / "photos", tmp_path / "none", tiny_run])
    with pytest.raises(StoreError, match=r"no run is named"):
        write_report([])
    with pytest.raises(StoreError, match=r"is a folder; name the HTML file"):
        write_report(tiny_run, tmp_path)


def test_the_settings_to_copy_are_the_settings(tiny_run, report, tmp_path):
    recipe = read_json(tiny_run / "run.json")["recipe"] | {"about": 'with "quotes", ⊗ and \\'}
    (tmp_path / "recipe.toml").write_text(write_toml(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.toml").as_dict() == recipe
    assert load_recipe(report.path.with_name("recipe.toml")).as_dict() == read_json(tiny_run / "run.json")["recipe"]


def test_a_run_ends_with_its_report_and_does_it_once(copy_of_tiny_run, rerun):
    assert not (copy_of_tiny_run / "report").exists()
    assert rerun(copy_of_tiny_run, compute__report=True).made == ()
    written = copy_of_tiny_run / "report" / "report.html"
    before = written.stat().st_mtime_ns
    rerun(copy_of_tiny_run, compute__report=True)
    assert written.stat().st_mtime_ns == before
    written.unlink()
    rerun(copy_of_tiny_run, compute__report=True)
    assert written.is_file()


def test_a_report_written_by_itself_is_the_runs_own(copy_of_tiny_run, rerun, capsys):
    report = write_report(copy_of_tiny_run)
    before = report.path.stat().st_mtime_ns
    rerun(copy_of_tiny_run, compute__report=True)
    assert report.path.stat().st_mtime_ns == before
    assert write_report(copy_of_tiny_run).path.stat().st_mtime_ns > before
    rerun(copy_of_tiny_run, compute__report=True)
    assert "report" not in capsys.readouterr().err.replace("report: ", "")


def test_colours_of_labels_are_kept_and_others_are_filled_with_free_ones():
    filled = fill_colours({"a": "", "b": "orange", "c": "none such", "d": "orange", "e": ""})
    assert (filled["b"], filled["d"]) == ("orange", "orange")
    assert len({filled["a"], filled["c"], filled["e"], "orange"}) == 4


def test_a_report_that_fails_loses_no_run(copy_of_tiny_run, rerun, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("no pen")

    monkeypatch.setattr(page, "write_report", broken)
    summary = rerun(copy_of_tiny_run, compute__report=True)
    assert "scores/masks" in summary.records
    assert "The report could not be written (ValueError: no pen)" in " ".join(capsys.readouterr().err.split())


def test_names_are_text_and_nothing_else(copy_of_tiny_run):
    run = copy_of_tiny_run.rename(copy_of_tiny_run.with_name("<script>alert(1)&"))
    assert "<script>alert" not in recam.write_report(run).path.read_text(encoding="utf-8")
