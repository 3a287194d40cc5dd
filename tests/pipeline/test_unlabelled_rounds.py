"""Images without a row take part once there is a model: it makes masks of them, and the next model learns from both."""

import numpy as np

import recam
from recam.data.images import read_mask, write_png
from recam.runfolder.store import read_json
from tiny_recipe import TINY

SETTINGS = {
    **{name: value for name, value in TINY.items() if not name.startswith("data.")},
    "training": "probe",
    "compare": [],
    "refine": [],
    "probe.unlearned": "report",
    "masks.threshold": "auto",
    "masks.oracle": False,
    "masks.rounds": "auto",
    "masks.round": ["self_training"],
    "compute.report": False,
}


def make_folder(root, labelled=10, more=4):
    samples = recam.open_catalog("scenes:", **TINY["data.options"]).samples("train")
    names = recam.open_catalog("scenes:", **TINY["data.options"]).classes.names
    rows = ["image,labels"]
    (root / "images").mkdir(parents=True)
    for number, sample in enumerate(samples[: labelled + more]):
        write_png(root / "images" / f"{number}.png", sample.image.read())
        if number < labelled:
            rows.append(f"{number}.png,{';'.join(names[label] for label in sample.labels)}")
    (root / "labels.csv").write_text("\n".join(rows))
    return f"folder:{root}"


def test_the_model_learns_from_images_without_labels_too(tmp_path):
    data = make_folder(tmp_path / "photos", labelled=10, more=2)
    recam.run(data, recipe="tiny", output=tmp_path / "run", settings=SETTINGS)
    found = sorted((tmp_path / "run/rounds/probe/unlabelled").glob("*.png"))
    assert [path.stem for path in found] == ["10", "11"]
    classes = len(read_json(tmp_path / "run/train/probe/stage.json")["results"]["labels"]["classes"])
    for path in found:
        mask = read_mask(path)
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) <= {*range(classes + 1), 255}
    assert read_json(tmp_path / "run/segment/pseudo/stage.json")["results"]["images"] == 12
    assert {path.stem for path in (tmp_path / "run/masks").glob("*.png")} == {str(number) for number in range(10)}


def test_without_such_images_nothing_is_planned_for_them(tmp_path):
    data = make_folder(tmp_path / "photos", labelled=10, more=0)
    recam.run(data, recipe="tiny", output=tmp_path / "run", settings=SETTINGS)
    assert not (tmp_path / "run/rounds/probe/unlabelled").exists()
