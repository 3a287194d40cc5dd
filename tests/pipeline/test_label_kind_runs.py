"""Labels of the kinds that people have, from the command line to masks, at the smallest size."""

import json

import numpy as np
import pytest

from recam.data.images import read_mask, write_mask, write_png
from recam.review.layers import ReviewedRun
from recam.runfolder.store import read_json

SIZE = 48
COLOURS = {"sand": (200, 170, 120), "water": (40, 80, 160), "forest": (30, 110, 40)}


def draw(names, seed):
    """An image (H, W, 3) of vertical bands, one a class, and its mask from 1 on in the order of `COLOURS`."""
    rng = np.random.default_rng(seed)
    image, mask = np.zeros((SIZE, SIZE, 3)), np.zeros((SIZE, SIZE), np.uint8)
    edges = np.linspace(0, SIZE, len(names) + 1).astype(int)
    for name, left, right in zip(names, edges, edges[1:], strict=False):
        image[:, left:right] = COLOURS[name]
        mask[:, left:right] = 1 + list(COLOURS).index(name)
    return (image + rng.normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8), mask


def run_words(root, *settings, until="masks", recipe="tiny"):
    words = ["run", "--data", f"folder:{root}", "--recipe", recipe, "-o", root / "run", "--until", until]
    plain = ("compute.workers=0", "compute.report=false", "compare=[]", "backbone.weights=none", "train.batch=4")
    return [*words, *(word for setting in (*plain, *settings) for word in ("--set", setting))]


def masks_of(root):
    return {path.stem: read_mask(path) for path in sorted((root / "run" / "masks").glob("*.png"))}


LAND = (("sand", "water"), ("water", "forest"), ("forest", "sand"), ("sand",), ("water",), ("forest",)) * 2


@pytest.fixture
def land(tmp_path):
    """Land cover: every pixel is of a class; a black frame at the left of the first image; no mask of the last."""
    rows = ["image,labels"]
    for number, names in enumerate(LAND):
        image, mask = draw(names, number)
        if number == 0:
            image[:, :8] = 0
        write_png(tmp_path / "images" / f"{number:02}.png", image)
        if number < len(LAND) - 1:
            write_mask(tmp_path / "masks" / f"{number:02}.png", mask)
        rows.append(f"{number:02},{';'.join(names)}")
    (tmp_path / "labels.csv").write_text("\n".join([*rows, "12,"]))
    (tmp_path / "classes.txt").write_text("\n".join(COLOURS))
    write_png(tmp_path / "images" / "12.png", draw(("sand",), 99)[0])
    return tmp_path


def test_no_background(command, land):
    settings = ("data.background=none", "data.no_data=0")
    code, out, _ = command("check", f"folder:{land}", *(word for each in settings for word in ("--set", each)))
    assert (code, "no background: every pixel belongs to one" in out, "[label-needed]" in out) == (0, True, True)
    more = ('refine=["pamr"]', "training=cam", "cam.epochs=1", "segment.crop=32", "segment.class_balance=0.5")
    code, out, err = command(*run_words(land, *settings, *more, until="pictures"))
    assert code == 0, err
    assert "by the largest map" in out
    assert "oracle" not in out
    masks = masks_of(land)
    for name, mask in masks.items():
        names = LAND[int(name)]
        allowed = {1 + list(COLOURS).index(each) for each in names}
        assert set(np.unique(mask[:, 8:])) <= allowed
        assert len(names) > 1 or len(np.unique(mask)) == 1
    if "00" in masks:
        assert (masks["00"][:, :8] == 255).all()
    summary = read_json(land / "run" / "summary.json")
    assert summary["masks"]["threshold_from"] == "largest map"
    scores = read_json(land / "run" / "scores/masks/stage.json")["results"]
    assert set(scores["scores"]["iou"]) == set(COLOURS)
    assert np.array(scores["confusion"])[0].sum() == np.array(scores["confusion"])[:, 0].sum() == 0
    predicted = command("predict", land / "run", land / "images", "-o", land / "out")
    assert predicted[0] == 0, predicted[2]
    values = set(np.unique(np.stack([read_mask(path) for path in sorted((land / "out").glob("[0-9][0-9].png"))])))
    assert values <= {1, 2, 3, 255}
    assert (read_mask(land / "out" / "00.png")[:, :8] == 255).all()
    reviewed = ReviewedRun(land / "run")
    assert reviewed.background is False
    assert reviewed.heights(reviewed.main_maps, np.array([0])) is None
    code, out, err = command("export", "masks", land / "run", "-o", land / "voc", "--to", "voc")
    assert code == 0, err


def test_one_class_and_images_without_it(command, tmp_path):
    rows = ["image,labels"]
    for number in range(10):
        write_png(
            tmp_path / "images" / f"{number}.png", draw(("sand", "water") if number % 2 else ("sand",), number)[0]
        )
        rows.append(f"{number},{'defect' if number % 2 else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    code, out, _ = command("check", f"folder:{tmp_path}", "--json")
    assert (code, json.loads(out)["unlabelled"]) == (0, 5)
    code, _, err = command(*run_words(tmp_path, "recam.background_logit=false"))
    assert code == 2
    assert "with a single class ReCAM's softmax loss is always 0. Set recam.background_logit = true" in err
    more = ("recam.background_logit=true", "masks.threshold=auto", 'refine=["pamr"]', "segment.crop=32")
    code, out, err = command(*run_words(tmp_path, *more, until="segment"))
    assert code == 0, err
    assert all((mask == 0).all() for name, mask in masks_of(tmp_path).items() if int(name) % 2 == 0)
    assert read_json(tmp_path / "run" / "masks/stage.json")["results"]["threshold_from"] == "recipe"


def test_one_class_alone_is_refused(command, tmp_path):
    for number in range(4):
        write_png(tmp_path / "defect" / f"{number}.png", draw(("sand",), number)[0])
    code, out, _ = command("check", f"folder:{tmp_path}")
    assert (code, "[class-in-every-image]" in out) == (0, True)
    code, _, err = command(*run_words(tmp_path, "training=cam"))
    assert code == 2
    assert "all 4 images are labelled defect, so none shows what is there without" in err


def test_one_label_per_image_in_a_folder_per_class(command, tmp_path):
    for number in range(9):
        name = list(COLOURS)[number % 3]
        write_png(tmp_path / name / f"{number}.png", draw((name, name), number)[0])
    code, out, _ = command("check", f"folder:{tmp_path}")
    assert (code, "exactly one label per image" in out) == (0, True)
    code, _, err = command(*run_words(tmp_path, "training=recam"))
    assert code == 0, err
    history = read_json(tmp_path / "run" / "train/recam/stage.json")["results"]["history"]
    assert history[-1]["sce"] > 0


def test_labels_in_names_with_groups_and_unlabelled_images(command, tmp_path):
    for number in range(12):
        name = list(COLOURS)[number % 3]
        write_png(tmp_path / "images" / f"{name}_s{number // 3}_{number}.png", draw((name,), number)[0])
    settings = (
        "data.labels_from={label}_{group}_{id}",
        "training=probe",
        "probe.unlearned=report",
        "probe.scales=[1.0]",
    )
    code, out, _ = command("check", f"folder:{tmp_path}", "--set", settings[0])
    assert (code, "groups             3    1" in out) == (0, True)
    code, _, err = command(*run_words(tmp_path, *settings, until="train"))
    assert code == 0, err
    labels = read_json(tmp_path / "run" / "train/probe/stage.json")["results"]["labels"]
    assert labels["images"] == 3  # a whole group of the four
    write_png(tmp_path / "images" / "odd.png", draw(("sand",), 1)[0])
    code, _, err = command(*run_words(tmp_path, *settings, until="train"))
    assert code == 2
    assert "[name-not-matched]" in err


def test_images_without_a_row_teach_no_classifier(command, tmp_path):
    rows = ["image,labels"]
    for number in range(8):
        name = list(COLOURS)[number % 2]
        write_png(tmp_path / "images" / f"{number}.png", draw((name,), number)[0])
        rows += [f"{number},{name}"] if number < 6 else []
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    for settings, images in (((), 6), (("data.unlisted=negative",), 8)):
        code, _, err = command(*run_words(tmp_path, *settings, "training=cam", until="train"))
        assert code == 0, err
        assert read_json(tmp_path / "run" / "train/cam/stage.json")["results"]["images"] == images
