"""``surfaces:``: the same picture from (seed, index), masks that agree with labels, defects that can be seen."""

import pickle

import numpy as np
import pytest

from recam.data.catalog import fingerprint, open_catalog
from recam.errors import DataError, RecipeError
from recam.labels import mask_value
from recam.pipeline import demo
from recam.pipeline.demo import run_demo
from recam.scenes.surfaces import DEFECTS, SOUND, STYLES, draw_surface, plan_surface


@pytest.fixture(scope="module")
def surfaces():
    return open_catalog("surfaces:", size=96, train=60, val=2)


def test_a_picture_is_the_same_in_any_order():
    one, other = (draw_surface(3, "val", 5, 64) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    assert not np.array_equal(one[0], draw_surface(4, "val", 5, 64)[0])
    assert not np.array_equal(one[0], draw_surface(3, "train", 5, 64)[0])


@pytest.mark.parametrize("size", [48, 200])
def test_shapes_and_values(size):
    image, mask = draw_surface(0, "train", 1, size)
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == ((size, size, 3), np.uint8, (size, size), np.uint8)
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_plans_have_all_kinds_and_styles_and_sound_surfaces():
    plans = [plan_surface(0, "train", index) for index in range(400)]
    assert {plan.style for plan in plans} == set(STYLES)
    assert {label for plan in plans for label in plan.labels} == set(range(len(DEFECTS)))
    assert np.mean([not plan.labels for plan in plans]) == pytest.approx(SOUND, abs=0.07)  # three standard deviations
    assert max(len(plan.labels) for plan in plans) == 2


def test_masks_show_what_labels_say_and_pictures_what_masks_do(surfaces):
    """A defect differs from what is around it by more than the noise of the camera."""
    shown = set()
    for sample in surfaces.samples("train"):
        mask, image = sample.mask.read(), sample.image.read()[..., 0].astype(float)
        assert set(np.unique(mask)) - {0} == {mask_value(label) for label in sample.labels}
        for label in sample.labels:
            inside = mask == mask_value(label)
            assert 1e-4 < inside.mean() < 0.5
            if DEFECTS[label] != "wear":  # which is rough, and hardly brighter
                assert abs(image[inside].mean() - np.median(image[mask == 0])) > 5
                shown.add(label)
    assert len(shown) == len(DEFECTS) - 1


def test_chosen_classes_numbers_and_words(surfaces):
    few = open_catalog("surfaces:", ["hole", "stain"], size=96, train=60, val=2)
    assert few.classes.names == ("hole", "stain")
    assert sum(bool(sample.labels) for sample in few.samples("train")) < sum(
        bool(sample.labels) for sample in surfaces.samples("train")
    )
    assert fingerprint(few.samples("val")) != fingerprint(surfaces.samples("val"))
    assert surfaces.samples("train")[0].image.where == "surfaces:train-000000"
    assert pickle.loads(pickle.dumps(surfaces.samples("train")[0])) == surfaces.samples("train")[0]
    with pytest.raises(DataError, match=r"surfaces: need other numbers: size = 4, but at least 48"):
        open_catalog("surfaces:", size=4)
    with pytest.raises(DataError, match=r"surfaces are drawn, not read from 'x'"):
        open_catalog("surfaces:x")


def test_the_demo_of_either_kind(monkeypatch):
    asked = []
    monkeypatch.setattr(demo, "run", lambda *given: asked.append(given[::2]))
    run_demo()
    run_demo(kind="surfaces")
    run_demo("here", kind="surfaces")
    assert asked == [("scenes:", "runs/demo"), ("surfaces:", "runs/demo-surfaces"), ("surfaces:", "here")]
    with pytest.raises(RecipeError, match="no demo 'surface'"):
        run_demo(kind="surface")
