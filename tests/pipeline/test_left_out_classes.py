"""A class that no training image shows is neither learned nor scored, wherever the run's data are opened again."""

import json

import numpy as np
import pytest

import recam
from recam.data.catalog import open_catalog
from recam.data.images import read_mask, write_mask, write_png
from recam.data.roles import DataSettings, RunData
from recam.errors import DataError
from recam.labels import IGNORE
from recam.pipeline.run_data import leave_out_unlabelled

SETTINGS = {"compute.workers": 0, "compute.report": False, "cam.epochs": 1}
NAMES = ("ant", "cat", "bee", "dog", "zebra")


@pytest.fixture
def photos(tmp_path):
    """cat and dog in train, zebra in val alone; classes.txt names ant and bee besides. Masks show all that is there."""
    rows = ["image,labels,split"]
    for i in range(6):
        label, split = ("cat", "dog")[i % 2], "train" if i < 4 else "val"
        rows.append(f"{i},{label}{';zebra' * (i == 5)},{split}")
        picture, mask = np.full((48, 48, 3), 40 * i, np.uint8), np.zeros((48, 48), np.uint8)
        mask[8:24] = NAMES.index(label) + 1
        mask[40:] = NAMES.index("zebra") + 1 if i == 5 else 0
        write_png(tmp_path / "photos" / "images" / f"{i}.png", picture)
        write_mask(tmp_path / "photos" / "masks" / f"{i}.png", mask)
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "photos" / "classes.txt").write_text("\n".join(NAMES))
    return tmp_path / "photos"


def test_the_data_are_narrowed(photos, capsys):
    settings = DataSettings(location=f"folder:{photos}")
    data = leave_out_unlabelled(RunData(open_catalog(settings.location), settings))
    assert data.catalog.classes.names == data.settings.classes == ("cat", "dog")
    assert data.left_out == ("ant", "bee", "zebra")
    assert {s.id: s.labels for s in (*data.train, *data.val)} == {
        "0": (0,),
        "1": (1,),
        "2": (0,),
        "3": (1,),
        "4": (0,),
        "5": (1,),
    }
    assert np.unique(data.val[1].mask.read()).tolist() == [0, 2, IGNORE]  # the zebra is neither background nor a dog
    assert "no image of the split train is labelled ant, bee, zebra" in " ".join(capsys.readouterr().err.split())
    assert leave_out_unlabelled(data) is data


def test_a_run_goes_on_without_them_and_is_read_without_them(photos, tmp_path):
    run = tmp_path / "run"
    settings = SETTINGS | {"masks.class_thresholds": {"zebra": 0.4}}
    summary = recam.run(f"folder:{photos}", "tiny", run, settings, until="masks")
    assert "class-without-image" in {
        note["kind"] for note in json.loads((run / "check" / "check.json").read_text())["notes"]
    }
    assert json.loads((run / "run.json").read_text())["recipe"]["data"]["classes"] == ["cat", "dog"]
    assert read_mask(run / "masks" / "0.png").max() in (0, 1, 2, IGNORE)
    results = json.loads((run / "scores" / "masks" / "stage.json").read_text())["results"]
    assert list(results["scores"]["iou"]) == ["background", "cat", "dog"]
    assert summary.made
    assert recam.run(f"folder:{photos}", "tiny", run, settings, until="masks").made == ()


def test_no_training_split_stops_the_run(photos, tmp_path):
    table = photos / "labels.csv"
    table.write_text(table.read_text().replace(",train", ",test"))
    with pytest.raises(
        DataError, match=r"no split is called train, there are val, test; name one with --set data\.train="
    ):
        recam.run(f"folder:{photos}", "tiny", tmp_path / "run", SETTINGS, until="masks")
