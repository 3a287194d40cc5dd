"""The export is a data set: it is checked, read back, and holds what was accepted as it was accepted."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest

import recam
from recam import cli
from recam.data.folder import Folder
from recam.data.images import read_mask, write_mask, write_png
from recam.data.roles import RunData
from recam.errors import DataError, StoreError
from recam.review.decisions import Decisions
from recam.review.export import export_decisions
from recam.review.judged import save_corrected
from recam.review.layers import ReviewedRun, mask_of_maps
from recam.runfolder.store import read_json, write_json


def test_the_command_from_decisions_to_a_data_set(session, tmp_path, monkeypatch, capsys):
    view, log = session.run, session.decisions
    painted = np.zeros((64, 64), np.uint8)
    painted[20:40, 20:50] = view.items[1].labels[0] + 1
    log.add(
        "t",
        [item.id for item in view.items[:6]],
        verdict="accepted",
        source=session.source(view.layers["masks"], None, {}).model_dump(),
    )
    log.add("t", [view.items[0].id], labels=[view.classes[index] for index in view.items[0].labels[1:]])
    name = save_corrected(view, view.items[1], painted)
    log.add("t", [view.items[1].id], verdict="accepted", mask=name, source={"layer": "corrected", "key": name})
    at = session.source(view.main_maps, 0.6, {view.classes[view.items[2].labels[0]]: 0.2})
    log.add("t", [view.items[2].id], verdict="accepted", source=at.model_dump())
    log.add("t", [view.items[3].id], verdict="rejected")
    output = tmp_path / "clean"
    monkeypatch.setattr("sys.argv", ["recam", "review", str(view.root), "--export", str(output)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert "5 images and 5 masks" in capsys.readouterr().out

    report = recam.check(f"folder:{output}")
    assert report.ok, report
    assert report.images == 5
    catalog = recam.open_catalog(f"folder:{output}")
    samples = {sample.id: sample for sample in catalog.samples("all")}
    assert view.items[3].id not in samples
    assert set(catalog.classes.names) <= set(view.classes)

    def in_names(mask, names):
        return np.array(["background", *names, *["?"] * 255])[mask]

    third, own = view.items[2], {view.items[2].labels[0]: 0.2}
    expected = {
        view.items[4].id: read_mask(view.root / "masks" / f"{view.items[4].id}.png"),
        view.items[1].id: painted,
        third.id: mask_of_maps(view.read_maps(view.main_maps, third), third.labels, own, 0.6),
    }
    for sample_id, mask in expected.items():
        assert np.array_equal(
            in_names(samples[sample_id].mask.read(), catalog.classes.names), in_names(mask, view.classes)
        ), sample_id
        item = view.items[view.number[sample_id]]
        assert [catalog.classes.names[index] for index in samples[sample_id].labels] == [
            view.classes[index] for index in item.labels
        ]
        assert np.array_equal(samples[sample_id].image.read(), item.sample.image.read())
    assert len(samples[view.items[0].id].labels) == len(view.items[0].labels) - 1


def test_photos_are_copied_or_linked_and_masks_outlive_a_new_threshold(run, tmp_path, rerun):
    """What was accepted stays what was accepted when the run has made other masks since."""
    view = ReviewedRun(run)
    log = Decisions(view.review)
    kept = read_mask(run / "masks" / "train-000000.png")
    key = view.layers["masks"].key
    log.add("t", ["train-000000"], verdict="accepted", source={"layer": "masks", "key": key})
    rerun(run, until="masks", masks__oracle=False, masks__threshold=0.9)
    view = ReviewedRun(run)
    report = export_decisions(view, Decisions(view.review), tmp_path / "out")
    assert report.problems == ()
    values = [1 + report.classes.index(name) if name in report.classes else 255 for name in view.classes]
    table = np.array([0, *values, *[255] * 245], np.uint8)
    assert np.array_equal(read_mask(tmp_path / "out" / "masks" / "train-000000.png"), table[kept])
    shutil.rmtree(run / ".stages" / "masks" / key)
    report = export_decisions(view, Decisions(view.review), tmp_path / "again")
    assert "not there any more" in report.problems[0].message


def test_everything_with_held_out_images_and_links(tiny_run, tmp_path):
    """A run on a folder of photos: splits are kept, photos linked, open images come without a mask."""
    data = tmp_path / "photos"
    scenes = recam.open_catalog("scenes:", seed=6, size=64, train=12, val=4)
    rows = [("image", "labels", "split")]
    for split in ("train", "val"):
        for sample in scenes.samples(split):
            write_png(data / "images" / f"{sample.id}.PNG", sample.image.read())
            write_mask(data / "masks" / f"{sample.id}.png", sample.mask.read())
            rows.append((f"{sample.id}.PNG", ";".join(scenes.classes.names[index] for index in sample.labels), split))
    (data / "classes.txt").write_text("\n".join(scenes.classes.names))
    with (data / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    root = tmp_path / "run"
    for part in ("masks", "predictions/pseudo", "maps/cam", "segment/pseudo"):
        shutil.copytree(tiny_run / ".stages" / part, root / ".stages" / part)
    written = read_json(tiny_run / "run.json")
    written["recipe"]["data"] |= {"location": f"folder:{data}", "options": {}}
    write_json(root / "run.json", written)
    view = ReviewedRun(root)
    log = Decisions(view.review)
    log.add("t", ["train-000000"], verdict="accepted", source={"layer": "masks", "key": view.layers["masks"].key})
    log.add(
        "t",
        ["val-000000"],
        verdict="accepted",
        source={"layer": "predictions/pseudo", "key": view.layers["predictions/pseudo"].key},
    )
    report = export_decisions(view, log, tmp_path / "out", "link", everything=True)
    assert (report.images, report.masks) == (16, 2)
    catalog = recam.open_catalog(f"folder:{tmp_path / 'out'}")
    assert (len(catalog.samples("train")), len(catalog.samples("val"))) == (12, 4)
    assert (tmp_path / "out" / "images" / "val-000000.PNG").is_symlink()
    assert sum(sample.mask is not None for sample in catalog.samples("all")) == 2
    with pytest.raises(StoreError, match="is there already"):
        export_decisions(view, log, tmp_path / "out")
    with pytest.raises(StoreError, match="nothing is accepted yet"):
        export_decisions(view, Decisions(tmp_path / "none"), tmp_path / "new")
    assert not list(tmp_path.glob(".*.tmp"))


def exported_mask(view, log, output, number):
    """Report and mask of an image, in the values of the run's own classes."""
    report = export_decisions(view, log, output)
    values = [1 + view.classes.index(name) for name in report.classes]
    table = np.array([0, *values, *[255] * (255 - len(values))], np.uint8)
    return report, table[read_mask(output / "masks" / f"{view.items[number].id}.png")]


def relabelled(view, log, number, **labels):
    """Sets the labels of an image: those of the data set without `removed`, and with `added`."""
    names = [view.classes[index] for index in view.items[number].labels if view.classes[index] != labels.get("removed")]
    log.add("t", [view.items[number].id], labels=names + [labels[name] for name in labels if name == "added"])


def saved(view, log, number, mask):
    name = save_corrected(view, view.items[number], mask)
    log.add("t", [view.items[number].id], verdict="accepted", mask=name, source={"layer": "corrected", "key": name})


def test_a_label_removed_after_painting_takes_its_pixels_along(session, tmp_path):
    """255, as in a finished mask, and the report counts it; what is painted after the removal stays, and is reported,
    too."""
    view, log = session.run, session.decisions
    other = view.items[1]  # keeps all classes of the run in the export
    source = session.source(view.layers["masks"], None, {}).model_dump()
    log.add("t", [other.id], verdict="accepted", labels=list(view.classes), source=source)
    (index, *_), foreign = view.items[0].labels, next(each for each in range(10) if each not in view.items[0].labels)
    name = view.classes[index]
    painted = np.zeros((64, 64), np.uint8)
    painted[:20], painted[20:30] = index + 1, foreign + 1
    saved(view, log, 0, painted)
    report, mask = exported_mask(view, log, tmp_path / "before", 0)
    assert np.array_equal(mask, painted)
    assert report.notes == (
        f"masks show classes that are no label of their image, kept as accepted: {view.classes[foreign]} in 1",
    )

    relabelled(view, log, 0, removed=name)
    expected = painted.copy()
    expected[:20] = 255
    report, mask = exported_mask(view, log, tmp_path / "removed", 0)
    assert np.array_equal(mask, expected)
    assert report.notes[0] == f"pixels of removed labels became 255 (ignore), masks by class: {name} in 1"
    assert report.notes[0] in str(report)
    assert report.as_dict()["notes"] == list(report.notes)
    shown = session.pack(None, 0, 0)
    assert np.array_equal(shown.planes[0], expected)  # the page shows what is exported

    relabelled(view, log, 0, removed=name, added=view.classes[foreign])
    relabelled(view, log, 0, removed=name)  # a label for a while only: its pixels go, too
    _, mask = exported_mask(view, log, tmp_path / "both", 0)
    assert np.array_equal(mask, np.where(painted > 0, 255, 0))

    saved(view, log, 0, painted)
    report, mask = exported_mask(view, log, tmp_path / "painted", 0)
    assert np.array_equal(mask, painted)  # the later word of the same person
    assert "kept as accepted" in report.notes[0]
    relabelled(view, log, 0)  # all labels of the data set again
    assert np.array_equal(exported_mask(view, log, tmp_path / "again", 0)[1], painted)


def test_a_label_that_was_put_back_keeps_its_pixels(session, tmp_path):
    view, log = session.run, session.decisions
    painted = np.full((64, 64), view.items[0].labels[0] + 1, np.uint8)
    saved(view, log, 0, painted)
    relabelled(view, log, 0, removed=view.classes[view.items[0].labels[0]])
    relabelled(view, log, 0)
    report, mask = exported_mask(view, log, tmp_path / "out", 0)
    assert np.array_equal(mask, painted)
    assert report.notes == ()


def test_removed_labels_of_finished_masks_are_reported(session, tmp_path):
    view, log = session.run, session.decisions
    number = next(number for number, item in enumerate(view.items[:12]) if len(item.labels) > 1)
    item = view.items[number]
    stored = read_mask(view.root / "masks" / f"{item.id}.png")
    shown = next(index for index in item.labels if (stored == index + 1).any())
    log.add("t", [item.id], verdict="accepted", source=session.source(view.layers["masks"], None, {}).model_dump())
    relabelled(view, log, number, removed=view.classes[shown])
    report, mask = exported_mask(view, log, tmp_path / "out", number)
    assert np.array_equal(mask, np.where(stored == shown + 1, 255, stored))
    assert report.notes == (
        f"pixels of removed labels became 255 (ignore), masks by class: {view.classes[shown]} in 1",
    )


def test_damaged_lines_of_the_log_are_reported(session, tmp_path):
    view = session.run
    session.decisions.add(
        "t", [view.items[0].id], verdict="accepted", source=session.source(view.layers["masks"], None, {}).model_dump()
    )
    with session.decisions.path.open("a") as file:
        file.write("[]\nnull\n")
    report = export_decisions(view, Decisions(view.review), tmp_path / "out")
    assert report.notes == ("2 damaged lines of decisions.jsonl count for nothing",)


def renamed(view, names):
    """The run with other names for its first classes."""
    view.classes = (*names, *view.classes[len(names) :])
    return view


@pytest.mark.parametrize("first", ["=cmd|'/c calc'!A1", "one, two", '"quoted"', "<img src=x>", "@home", "-1"])
def test_class_names_read_back_letter_by_letter(session, tmp_path, first):
    view, log = renamed(session.run, [first]), session.decisions
    ids = [item.id for item in view.items[:3]]
    log.add(
        "t",
        ids,
        verdict="accepted",
        source=session.source(view.layers["masks"], None, {}).model_dump(),
        labels=[first, view.classes[1]],
    )
    report = export_decisions(view, log, tmp_path / "out")
    catalog = recam.open_catalog(f"folder:{tmp_path / 'out'}")
    assert set(catalog.classes.names) == {first, view.classes[1]}
    assert all(len(sample.labels) == 2 for sample in catalog.samples("all"))
    assert any("open it as text" in note and repr(first) in note for note in report.notes) == (first[0] in "=@-")


@pytest.mark.parametrize("names", [["a\nb"], ["a\r", "b\n"], ["a;b", "split"]])
def test_class_names_that_no_table_can_hold(session, tmp_path, names):
    view, log = renamed(session.run, names), session.decisions
    source = session.source(view.layers["masks"], None, {}).model_dump()
    log.add("t", [view.items[0].id], verdict="accepted", source=source, labels=list(view.classes))
    with pytest.raises(DataError, match="';' or a line break, which separate names"):
        export_decisions(view, log, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unlabelled_images_are_exported_with_what_their_accepted_mask_shows(run, tmp_path, monkeypatch):
    """The one that was accepted has the classes of its mask, the other has no row, which means that nobody knows."""
    plain = ReviewedRun(run)
    extra = [replace(item.sample, labels=(), mask=None) for item in plain.items if item.split == "val"][:2]
    kept = {sample.id for sample in extra}
    monkeypatch.setattr(RunData, "unlabelled", extra)
    monkeypatch.setattr(RunData, "val", [s for s in plain._data.val if s.id not in kept])
    reviewed = ReviewedRun(run)
    items = {item.id: item for item in reviewed.items}
    assert [items[sample.id].split for sample in extra] == ["unlabelled"] * 2
    decisions = Decisions(reviewed.review)
    first = next(item for item in reviewed.items if item.labels)
    mask = np.full((64, 64), first.labels[0] + 1, np.uint8)
    for item in (first, items[extra[0].id]):
        name = save_corrected(reviewed, item, mask)
        source = {"layer": "corrected", "key": name}
        decisions.add("t", [item.id], verdict="accepted", mask=name, source=source)
    report = export_decisions(reviewed, decisions, tmp_path / "out", everything=True)
    assert report.masks == 2
    folder = Folder(tmp_path / "out")
    names = {s.id: [folder.classes.names[i] for i in s.labels] for s in folder.samples("all")}
    assert names[extra[0].id] == [reviewed.classes[first.labels[0]]]
    assert [sample.id for sample in folder.unlabelled()] == [extra[1].id]
