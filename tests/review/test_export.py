"""The export is a data set: it is checked, read back, and holds what was accepted as it was accepted."""

import csv
import shutil

import numpy as np
import pytest

import recam
from recam import cli
from recam.data.images import read_mask, write_mask, write_png
from recam.errors import StoreError
from recam.review.decisions import Decisions
from recam.review.export import export_decisions
from recam.review.judged import save_corrected
from recam.review.layers import RunView, mask_of_maps
from recam.runfolder.store import read_json, write_json


def test_the_command_from_decisions_to_a_data_set(session, tmp_path, monkeypatch, capsys):
    view, log = session.view, session.decisions
    painted = np.zeros((64, 64), np.uint8)
    painted[20:40, 20:50] = view.items[1].labels[0] + 1
    log.add(
        "t", [item.id for item in view.items[:6]], verdict="accepted", source=session.source(view.layers["masks"], None, {}).model_dump()
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
        assert np.array_equal(in_names(samples[sample_id].mask.read(), catalog.classes.names), in_names(mask, view.classes)), sample_id
        item = view.items[view.number[sample_id]]
        assert [catalog.classes.names[index] for index in samples[sample_id].labels] == [view.classes[index] for index in item.labels]
        assert np.array_equal(samples[sample_id].image.read(), item.sample.image.read())
    assert len(samples[view.items[0].id].labels) == len(view.items[0].labels) - 1


def test_photos_are_copied_or_linked_and_masks_outlive_a_new_threshold(run, tmp_path, rerun):
    """What was accepted stays what was accepted when the run has made other masks since."""
    view = RunView(run)
    log = Decisions(view.review)
    kept = read_mask(run / "masks" / "train-000000.png")
    log.add("t", ["train-000000"], verdict="accepted", source={"layer": "masks", "key": view.layers["masks"].key})
    rerun(run, until="masks", masks__oracle=False, masks__threshold=0.9)
    view = RunView(run)
    report = export_decisions(view, Decisions(view.review), tmp_path / "out")
    assert report.problems == ()
    values = [1 + report.classes.index(name) if name in report.classes else 255 for name in view.classes]
    table = np.array([0, *values, *[255] * 245], np.uint8)
    assert np.array_equal(read_mask(tmp_path / "out" / "masks" / "train-000000.png"), table[kept])
    shutil.rmtree(run / "old")
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
    for part in ("masks", "predictions/pseudo", "seeds/cam", "segment/pseudo"):
        shutil.copytree(tiny_run / part, root / part)
    written = read_json(tiny_run / "run.json")
    written["recipe"]["data"] |= {"location": f"folder:{data}", "options": {}}
    write_json(root / "run.json", written)
    view = RunView(root)
    log = Decisions(view.review)
    log.add("t", ["train-000000"], verdict="accepted", source={"layer": "masks", "key": view.layers["masks"].key})
    log.add("t", ["val-000000"], verdict="accepted", source={"layer": "model", "key": view.layers["model"].key})
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
