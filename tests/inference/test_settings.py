"""Inference settings: laid over those of a run in one way, and thresholds of the class maps that new images get."""

import pytest

from recam.errors import RecipeError
from recam.inference.run_models import _find_thresholds
from recam.inference.settings import InferenceSettings

OWN = InferenceSettings(scales=(0.5, 1.0), flip=False, window=64, max_side=320)


def test_none_keeps_a_setting():
    assert OWN.changed(True, scales=None, flip=None, window=None, refine=None) == OWN
    assert OWN.changed(False, scales=None, window=None) == OWN


def test_settings_are_laid_over():
    changed = OWN.changed(True, scales=[1], flip=True, window=0, refine="pamr")
    assert (changed.scales, changed.flip, changed.window, changed.refine, changed.max_side) == (
        (1,),
        True,
        None,
        "pamr",
        320,
    )
    assert OWN.changed(False, window=0).window is None


@pytest.mark.parametrize(
    ("has_segmenter", "changes", "message"),
    [
        (False, {"window": 64}, "a sliding window needs a segmentation model"),
        (True, {"window": 8}, "a window of 8 pixels"),
        (True, {"scales": []}, "at least one scale"),
        (True, {"refine": "crff"}, "Did you mean 'crf'"),
    ],
)
def test_changes_that_make_no_sense(has_segmenter, changes, message):
    with pytest.raises(RecipeError, match=message):
        OWN.changed(has_segmenter, **changes)


SEEDS = {"stage": "maps/x", "scores": "scores/x", "name": "x", "threshold": 0.2}
SCORES = {"label": {"kind": "scores of maps"}, "results": {"maps": {"x": {"oracle": {"threshold": 0.4}}}}}


def masks(**results):
    return {"label": {"kind": "masks"}, "results": {"threshold": 0.3, "threshold_from": "oracle", **results}}


@pytest.mark.parametrize(
    ("final", "maker", "records", "expected"),
    [
        ("maps/x", "", {}, (None, {})),
        ("maps/x", "", {"masks": masks(class_thresholds={"cat": 0.5})}, (0.3, {"cat": 0.5})),
        # Refined maps have thresholds of their own: that of the maps before them counts.
        ("refined/x+y", "", {"masks": masks(class_thresholds={"cat": 0.5}), "scores/x": SCORES}, (0.4, {})),
        ("refined/x+y", "", {"masks": masks(threshold_from="recipe"), "scores/x": SCORES}, (0.2, {})),
        ("refined/x+y", "", {"masks": masks()}, (0.2, {})),
        # New images get the training's maps, not those of a map maker.
        ("maps/x", "Maker", {"masks": masks()}, (0.2, {})),
    ],
)
def test_threshold_of_the_maps_that_new_images_get(final, maker, records, expected):
    written = {
        "recipe": {},
        "models": {"seeds": SEEDS, "maps": {**SEEDS, "stage": final}},
        "stages": {"maps/x": {"label": {"kind": "maps", "maker": maker}}},
    }
    assert _find_thresholds(written, records) == expected


def test_maps_have_no_threshold_where_there_is_no_background():
    """0 stands for none, and class thresholds are refused there."""
    written = {"recipe": {"data": {"background": "none"}}, "models": {"seeds": SEEDS, "maps": SEEDS}}
    assert _find_thresholds(written, {}) == (None, {}), "no masks yet"
    assert _find_thresholds(written, {"masks": masks()}) == (0.0, {})
