import numpy as np
import pytest

from recam.errors import DataError, RecipeError
from recam.evaluation.ious import class_ious, mean_over_present
from recam.evaluation.metrics import ConfusionMatrix
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.methods.thresholds import OtsuThreshold, apply_threshold

THRESHOLDS = (0.1, 0.25, 0.3, 0.5, 0.9)


def random_image(rng, classes, size=(9, 11)):
    present = np.sort(rng.choice(classes, rng.integers(0, 4), replace=False))
    # Coarse values, so that ties between maps and with thresholds occur.
    maps = (rng.integers(0, 21, (len(present), *size)) / 20).astype(np.float32)
    truth = rng.integers(0, classes + 1, size).astype(np.uint8)
    truth[rng.random(size) < 0.1] = 255
    return maps, present, truth


def test_mask_by_hand():
    maps = np.array([[[0.2, 0.5, 0.6, 0.3]], [[0.1, 0.6, 0.6, 0.1]]], np.float32)
    # Below the threshold, second map larger, maps tie, equal to the threshold.
    mask = apply_threshold(maps, [2, 6], 0.3)
    assert mask.tolist() == [[0, 7, 3, 0]]
    assert mask.dtype == np.uint8


def test_mask_without_maps_is_background():
    assert apply_threshold(np.zeros((0, 2, 3), np.float32), [], 0.3).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_sweep_equals_thresholding_one_by_one():
    rng = np.random.default_rng(0)
    images = [random_image(rng, classes=6) for _ in range(8)]
    assert {len(present) for _, present, _ in images} >= {0, 1, 3}
    sweep = ThresholdSweep(6, THRESHOLDS)
    for image in images:
        sweep.update(*image)

    expected = np.zeros((len(THRESHOLDS), 7, 7), np.int64)
    for index, threshold in enumerate(THRESHOLDS):
        for maps, present, truth in images:
            mask = apply_threshold(maps, present, threshold)
            np.add.at(expected[index], (truth[truth != 255], mask[truth != 255]), 1)
    np.testing.assert_array_equal(sweep.confusion(), expected)
    assert sweep.confusion().dtype == np.int64


def test_sweeps_of_shards_add_up():
    rng = np.random.default_rng(1)
    images = [random_image(rng, classes=4) for _ in range(6)]
    whole, *shards = [ThresholdSweep(4, THRESHOLDS) for _ in range(3)]
    for index, image in enumerate(images):
        whole.update(*image)
        shards[index % 2].update(*image)
    shards[0].histogram += shards[1].histogram
    np.testing.assert_array_equal(shards[0].confusion(), whole.confusion())


def test_best_threshold_by_hand():
    # Class 0 where the map is 0.6 or more: thresholds below 0.2 swallow background, those from 0.6 on lose the class.
    sweep = ThresholdSweep(1, [0.7, 0.1, 0.4, 0.3])
    sweep.update(np.array([[[0.2, 0.2, 0.6, 0.8]]], np.float32), [0], np.array([[0, 0, 1, 1]], np.uint8))
    best = sweep.best()
    assert best.thresholds == (0.1, 0.3, 0.4, 0.7)
    assert best.curve == pytest.approx((0.25, 1.0, 1.0, (1 / 2 + 2 / 3) / 2))
    assert (best.threshold, best.miou) == (0.3, 1.0)
    assert str(best) == "oracle threshold 0.30: mIoU 100.00"


def test_sweep_refuses_what_it_cannot_count():
    with pytest.raises(RecipeError, match="no threshold to try"):
        ThresholdSweep(3, [])
    sweep = ThresholdSweep(3)
    with pytest.raises(DataError, match="hold no pixel of any class"):
        sweep.best()
    with pytest.raises(DataError, match=r"maps of \(2, 2\) and a true mask of \(4, 4\)"):
        sweep.update(np.zeros((1, 2, 2), np.float32), [0], np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"the true mask holds \[4, 7\], but with 3 classes a value is 0…3 or 255"):
        sweep.update(np.zeros((1, 2, 2), np.float32), [0], np.array([[4, 7], [255, 3]], np.uint8))


def test_no_threshold_is_best_where_the_truth_shows_no_class():
    sweep = ThresholdSweep(2)
    sweep.update(np.full((1, 2, 2), 0.5, np.float32), [1], np.array([[0, 0], [0, 255]], np.uint8))
    with pytest.raises(DataError, match=r"no pixel of any class, .*not all 0 \(background\) and 255"):
        sweep.best()
    # Of pixels without a prediction, too, the truth is known.
    sweep.update(np.full((1, 1, 1), 0.5, np.float32), [1], np.array([[2]], np.uint8), np.array([[True]]))
    assert sweep.best().miou < 1


def test_the_sweep_in_blocks_of_rows_changes_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    maps, truth = rng.random((2, 9, 4), np.float32), rng.choice([0, 1, 2, 255], (9, 4)).astype(np.uint8)
    ignore = rng.random((9, 4)) < 0.2
    found = []
    for block in (1 << 22, 8):
        monkeypatch.setattr("recam.labels.PIXEL_BLOCK", block)
        sweep = ThresholdSweep(2)
        sweep.update(maps, [0, 1], truth, ignore)
        found.append(sweep.counts())
    np.testing.assert_array_equal(*found)


def test_ious_by_hand():
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    ious = class_ious(confusion)
    np.testing.assert_allclose(ious, [3 / 6, 4 / 7, np.nan])
    assert mean_over_present(ious) == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert np.isnan(mean_over_present(np.array([np.nan, np.nan])))


def test_otsu_parts_two_groups():
    otsu = OtsuThreshold()
    otsu.update(np.array([[[0.1, 0.1, 0.12], [0.7, 0.8, 0.1]]], np.float32))
    otsu.update(np.array([[[0.1, 0.05]], [[0.05, 0.72]]], np.float32))
    # The middle of the empty bins between 0.12 and 0.7.
    assert otsu.threshold() == pytest.approx((0.12 + 0.7) / 2, abs=1 / 256)


def test_otsu_equals_the_search_over_all_borders():
    values = np.random.default_rng(0).beta(1, 3, (1, 50, 60)).astype(np.float32)
    otsu = OtsuThreshold(bins=64)
    otsu.update(values)
    binned = (np.floor(values.ravel() * 64) + 0.5) / 64

    def within(border):
        sides = binned[binned < border], binned[binned >= border]
        return sum(len(side) * side.var() for side in sides if len(side))

    assert otsu.threshold() == min((border / 64 for border in range(1, 64)), key=within)


def test_otsu_needs_two_groups():
    otsu = OtsuThreshold()
    otsu.update(np.zeros((0, 4, 4), np.float32))
    otsu.update(np.zeros((2, 4, 4), np.float32))
    with pytest.raises(DataError, match="fewer than two different values"):
        otsu.threshold()


def test_pixels_without_a_prediction_are_missing_from_their_class():
    """Two of four pixels are left open: the class keeps one of its two, the background one of its two; nobody is
    charged a false alarm."""
    maps, truth = np.array([[[0.9, 0.1, 0.8, 0.2]]], np.float32), np.array([[1, 0, 1, 0]], np.uint8)
    ignore = np.array([[False, False, True, True]])
    sweep = ThresholdSweep(1, [0.5])
    sweep.update(maps, [0], truth, ignore)
    assert sweep.best().miou == pytest.approx(0.5)
    confusion = ConfusionMatrix(1)
    confusion.update(apply_threshold(maps, [0], 0.5, ignore), truth)
    assert confusion.scores().miou == pytest.approx(0.5)
    np.testing.assert_array_equal(apply_threshold(maps, [0], 0.5, ignore), [[1, 0, 255, 255]])


def test_each_class_may_have_its_own_threshold():
    """The largest map decides the class, that class's threshold whether it is shown: a lower map that exceeds its own
    does not step in."""
    maps = np.array([[[0.6, 0.6, 0.2, 0.5]], [[0.5, 0.7, 0.3, 0.5]]], np.float32)  # (2, 1, 4)
    assert apply_threshold(maps, [4, 1], [0.65, 0.1]).tolist() == [[0, 2, 2, 0]]
    assert (
        apply_threshold(maps, [4, 1], [0.4, 0.4]).tolist()
        == apply_threshold(maps, [4, 1], 0.4).tolist()
        == [[5, 2, 0, 5]]
    )


def test_without_a_background_the_largest_map_counts():
    maps = np.array([[[0.2, 0.5, 0.0, 0.3]], [[0.1, 0.6, 0.0, 0.1]]], np.float32)
    assert apply_threshold(maps, [2, 6], None).tolist() == [[3, 7, 3, 3]]
    ignore = np.array([[False, True, False, False]])
    assert apply_threshold(maps, [2, 6], None, ignore).tolist() == [[3, 255, 3, 3]]
    assert apply_threshold(np.zeros((0, 1, 2), np.float32), [], None).tolist() == [[255, 255]]


def test_a_sweep_without_a_background_equals_the_largest_map():
    rng = np.random.default_rng(1)
    sweep, direct = ThresholdSweep(6, background=False), ConfusionMatrix(6)
    for maps, present, truth in [random_image(rng, classes=6) for _ in range(8)]:
        truth[truth == 0] = 255
        sweep.update(maps, present, truth)
        direct.update(apply_threshold(maps, present, None), truth)
    assert sweep.thresholds == (0.0,)
    assert np.array_equal(sweep.counts()[0], direct.counts)
    assert sweep.best().miou == pytest.approx(float(mean_over_present(class_ious(direct.counts))))
    assert direct.counts[:, 0].sum() == 0
