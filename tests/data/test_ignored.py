"""Data without a background, and pixels that hold no data: what true masks, samples and the check make of them."""

import numpy as np
import pytest

from recam.data.catalog import fingerprint, open_catalog
from recam.data.check import check
from recam.data.images import write_mask, write_png
from recam.digests import digest_file
from recam.errors import DataError, RecipeError
from recam.labels import IGNORE


def make(root, rows, classes="forest\nwater\n"):
    """`rows`: id → (labels, mask (2, 3) or None); the image's left column is black, all else grey."""
    lines = ["image,labels,split"]
    for image_id, (labels, mask) in rows.items():
        image = np.full((2, 3, 3), 90, np.uint8)
        image[:, 0] = 0
        write_png(root / "images" / f"{image_id}.png", image)
        lines.append(f"{image_id},{labels},train")
        if mask is not None:
            write_mask(root / "masks" / f"{image_id}.png", np.array(mask, np.uint8))
    (root / "labels.csv").write_text("\n".join(lines))
    (root / "classes.txt").write_text(classes)
    return f"folder:{root}"


def mask_of(location, **options):
    return open_catalog(location, **options).samples("train")[0].mask.read().tolist()


def test_what_no_mask_names_is_not_known(tmp_path):
    location = make(tmp_path, {"a": ("forest;water", [[0, 1, 2], [0, 0, 255]])})
    assert mask_of(location) == [[0, 1, 2], [0, 0, 255]]
    assert mask_of(location, background="none") == [[255, 1, 2], [255, 255, 255]]
    assert open_catalog(location, background="none").classes.background is False
    assert open_catalog(location).classes.background is True


def test_masks_that_count_from_zero(tmp_path):
    location = make(tmp_path, {"a": ("forest;water", [[0, 1, 1], [0, 0, 255]])})
    assert mask_of(location, background="none", first_value=0) == [[1, 2, 2], [1, 1, 255]]
    with pytest.raises(RecipeError, match=r"first_value = 0 leaves no value for the background"):
        open_catalog(location, first_value=0)
    notes = check(location, background="none").notes
    assert [note.kind for note in notes if "data.first_value = 0" in note.message] == ["masks-from-zero"]
    assert not [note for note in check(location, background="none", first_value=0).notes if "zero" in note.kind]


@pytest.mark.parametrize("no_data", [0, (0, 0, 0), [0, 0, 0]])
def test_pixels_without_data_are_ignored(tmp_path, no_data):
    location = make(tmp_path, {"a": ("forest;water", [[1, 1, 2], [0, 0, 2]])})
    assert mask_of(location, no_data=no_data) == [[IGNORE, 1, 2], [IGNORE, 0, 2]]
    assert open_catalog(location, no_data=no_data).samples("train")[0].no_data == ((0,) if no_data == 0 else (0, 0, 0))
    assert mask_of(location, no_data=(0, 0, 1)) == [[1, 1, 2], [0, 0, 2]]


@pytest.mark.parametrize("no_data", [256, -1, (), (0, 0.5, 0), "black"])
def test_what_is_no_colour(tmp_path, no_data):
    location = make(tmp_path, {"a": ("forest", None)})
    with pytest.raises(RecipeError):
        check(location, no_data=no_data)


def test_a_colour_of_other_bands_is_a_problem_of_the_image(tmp_path):
    location = make(tmp_path, {"a": ("forest", [[1, 1, 1], [0, 0, 0]])})
    (problem,) = check(location, no_data=(0, 0)).problems
    assert "no_data has 2 values for 3 bands" in problem.message


def test_an_empty_label_cannot_be_where_every_pixel_belongs_to_a_class(tmp_path):
    location = make(tmp_path, {"a": ("forest", None), "b": ("water", None), "c": ("", None)})
    report = check(location, background="none")
    assert (report.images, report.unlabelled, report.unlisted) == (2, 0, 1)
    assert [note.kind for note in report.notes] == ["label-needed"]
    assert report.ok
    assert "no background: every pixel belongs to one of the image's classes" in str(report)
    assert [sample.id for sample in open_catalog(location, background="none").unlabelled()] == ["c"]


def test_a_single_class_leaves_nothing_to_tell_apart(tmp_path):
    location = make(tmp_path, {"a": ("forest", None)}, classes="forest\n")
    with pytest.raises(DataError, match="with the single class 'forest'"):
        open_catalog(location, background="none")
    with pytest.raises(RecipeError, match=r"background = 'non'\. Did you mean 'none'"):
        open_catalog(location, background="non")


def test_what_is_ignored_is_part_of_the_data(tmp_path):
    location = make(tmp_path, {"a": ("forest;water", [[0, 1, 2], [0, 0, 2]]), "b": ("water", None)})
    options = [{}, {"background": "none"}, {"no_data": 0}, {"no_data": 1}]
    assert len({fingerprint(open_catalog(location, **each).samples("train"), digest_file) for each in options}) == 4
