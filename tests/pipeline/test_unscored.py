"""A run whose true masks show no class: it is not scored, and states so; its threshold is the recipe's."""

import json

import numpy as np
import PIL.Image
import pytest

import recam
from recam.errors import DataError

SETTINGS = {"data.on_problems": "skip", "compute.workers": 0, "compute.report": False}


@pytest.fixture
def photos(tmp_path):
    """Four photos with masks of 0 and 255."""
    rng = np.random.default_rng(0)
    mask = np.zeros((48, 48), np.uint8)
    mask[12:36, 12:36] = 255
    rows = ["image,labels,split"]
    for index in range(4):
        for folder, pixels in (("images", rng.integers(0, 256, (48, 48, 3), np.uint8)), ("masks", mask)):
            path = tmp_path / "photos" / folder / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(path)
        rows.append(f"{index}.png,{('cat', 'dog')[index % 2]},{'train' if index < 2 else 'val'}")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "photos"


def test_masks_of_0_and_255_stop_a_run(photos, tmp_path):
    with pytest.raises(DataError, match=r"2 masks hold only 0 and 255|4 masks hold only 0 and 255; 255 is ignore"):
        recam.run(
            f"folder:{photos}", recipe="tiny", output=tmp_path / "run", settings=SETTINGS | {"data.on_problems": "stop"}
        )


def test_what_cannot_be_scored_is_not(photos, tmp_path, capfd):
    summary = recam.run(f"folder:{photos}", recipe="tiny", output=tmp_path / "run", settings=SETTINGS, until="masks")
    told = " ".join(capfd.readouterr().err.split())
    for split in ("train", "val"):
        assert f"split {split} is not scored: none of its 2 true masks shows a pixel of any class" in told
    found = summary.as_dict()
    assert found["maps"] == {}
    assert (found["masks"]["threshold_from"], found["masks"]["miou"]) == ("recipe", None)
    assert "mIoU" not in str(summary)
    assert not [stage for stage in found["stages"] if stage.startswith("scores/")]
    json.dumps(found, allow_nan=False)
