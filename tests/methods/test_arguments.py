"""What is passed to the methods in the wrong form, where an answer would look right: refused with what is wrong, or
converted."""

import re

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.evaluation.ious import check_mask_values
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.labels import check_class_indices, mask_values, multi_hot
from recam.methods import advcam, cam, irn, irn_walk, recam
from recam.methods.crf import confident_labels
from recam.methods.edam import edam_mask
from recam.methods.eps import eps_loss
from recam.methods.pamr import PamrRefiner, refine
from recam.methods.thresholds import OtsuThreshold, apply_threshold
from recam.types import SeedMaps

MAPS = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
IMAGE = np.zeros((4, 4, 3), np.uint8)
TRUTH = np.zeros((4, 4), np.uint8)

WRONG_INDICES = {
    "above 253": ([0, 254], "254 are no classes: an index is 0…"),
    "negative": ([0, -1], "-1 are no classes"),
    "float": ([0.0, 1.0], "class indices are float64 (2,)"),
    "bool": ([True, False], "class indices are bool (2,)"),
    "twice": ([1, 1], "1 occur twice"),
    "two axes": ([[0, 1]], "class indices are int64 (1, 2)"),
    "text": (["0", "1"], "class indices are <U1 (2,)"),
}


@pytest.mark.parametrize(("indices", "message"), WRONG_INDICES.values(), ids=WRONG_INDICES)
@pytest.mark.parametrize(
    "use",
    [
        mask_values,
        lambda indices: multi_hot(indices, 5),
        lambda indices: apply_threshold(MAPS, indices, 0.3),
        lambda indices: ThresholdSweep(5).update(MAPS, indices, TRUTH),
        lambda indices: edam_mask(MAPS, indices, np.ones((4, 4))),
        lambda indices: confident_labels(IMAGE, MAPS, indices),
        lambda indices: irn_walk.walk_to_labels(torch.ones(2, 1, 1), (4, 4), indices),
        lambda indices: SeedMaps(MAPS, indices, (16, 16)),
        lambda indices: cam.make_cams([torch.ones(1, 8, 2, 2)], torch.ones(5, 8), indices, (8, 8)),
        lambda indices: advcam.make_advcams(
            torch.nn.Identity(), [torch.ones(2, 3, 8, 8)], [1.0], torch.ones(5, 3), indices, (8, 8)
        ),
    ],
    ids=["mask_values", "multi_hot", "threshold", "sweep", "edam", "confident", "walk", "seed", "cams", "advcams"],
)
def test_class_indices(use, indices, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        use(indices)
    assert "of a multi-hot row of labels that is np.flatnonzero(row)" in str(caught.value)


def test_a_multi_hot_row_is_no_list_of_indices():
    features, weight = [torch.ones(1, 8, 2, 2)], torch.ones(5, 8)
    for row in (torch.tensor([[1.0, 0, 0, 1, 0]])[0], torch.tensor([1, 0, 0, 1, 0])):
        with pytest.raises(DataError, match=r"np\.flatnonzero"):
            cam.make_cams(features, weight, row, (8, 8))
    assert cam.make_cams(features, weight, row.nonzero()[:, 0], (8, 8)).shape == (2, 2, 2)


def test_class_indices_that_are_right():
    for given in ([3, 0], (3, 0), np.array([3, 0], np.uint8), torch.tensor([3, 0]), iter([3, 0])):
        indices = check_class_indices(given, 2, 5)
        assert (indices.tolist(), indices.dtype) == ([3, 0], np.int64)
    assert check_class_indices([]).dtype == np.int64
    assert mask_values([253]).tolist() == [0, 254]
    assert multi_hot((), 2).tolist() == [0, 0]


@pytest.mark.parametrize("indices", [[0], [0, 1, 2]])
def test_one_index_for_each_map(indices):
    for use in (
        lambda: apply_threshold(MAPS, indices, 0.3),
        lambda: ThresholdSweep(5).update(MAPS, indices, TRUTH),
        lambda: edam_mask(MAPS, indices, np.ones((4, 4))),
        lambda: SeedMaps(MAPS, np.array(indices), (16, 16)),
    ):
        with pytest.raises(DataError, match=f"{len(indices)} indices for 2 maps"):
            use()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.5, 1.5])
def test_maps_that_are_not_finite_or_not_normalised(wrong):
    maps = MAPS.copy()
    maps[1, 2, 3] = wrong
    for use in (
        lambda: apply_threshold(maps, [0, 1], 0.3),
        lambda: ThresholdSweep(5).update(maps, [0, 1], TRUTH),
        lambda: OtsuThreshold().update(maps),
        lambda: edam_mask(maps, [0, 1], np.ones((4, 4))),
        lambda: confident_labels(IMAGE, maps, [0, 1]),
        lambda: SeedMaps(maps, np.array([0, 1]), (16, 16)),
    ):
        with pytest.raises(DataError, match=r"class maps have values .*they must be finite and in \[0, 1\]"):
            use()


@pytest.mark.parametrize("maps", [MAPS[0], MAPS > 0.5, (MAPS * 255).astype(np.uint8)])
def test_maps_of_another_form(maps):
    with pytest.raises(DataError, match=rf"class maps are {maps.dtype} .*give \(n, h, w\) floats"):
        apply_threshold(maps, [0, 1], 0.3)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_network_that_diverged(wrong):
    features, weight = torch.ones(1, 8, 2, 2), torch.ones(5, 8)
    features[0, 0, 0, 0] = wrong
    with pytest.raises(DataError, match="class maps hold NaN or inf"):
        cam.make_cams([features], weight, [0], (8, 8))
    with pytest.raises(DataError, match="class maps hold NaN or inf"):
        irn_walk.random_walk(torch.full((1, 4, 4), wrong), torch.zeros(4, 4))
    with pytest.raises(DataError, match="maps hold NaN or inf"):
        refine(torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), wrong))
    with pytest.raises(DataError, match="images hold NaN or inf"):
        refine(torch.full((1, 3, 4, 4), wrong), torch.zeros(1, 1, 4, 4))


def test_thresholds_that_are_none():
    for threshold in (float("nan"), 30, -0.1, [0.3, 2]):
        with pytest.raises(RecipeError, match=r"a threshold must be in \[0, 1\]"):
            apply_threshold(MAPS, [0, 1], threshold)
    with pytest.raises(RecipeError, match=r"thresholds \(3,\) for 2 maps"):
        apply_threshold(MAPS, [0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(RecipeError, match=r"thresholds \[30\] are outside"):
        ThresholdSweep(5, [0.3, 30])
    with pytest.raises(RecipeError, match="foreground: threshold must be"):
        confident_labels(IMAGE, MAPS, [0, 1], foreground_threshold=float("nan"))


def test_pixels_to_ignore_and_masks_of_another_form():
    with pytest.raises(DataError, match=r"pixels to ignore are uint8 \(4, 4\): give bool \(4, 4\)"):
        apply_threshold(MAPS, [0, 1], 0.3, np.ones((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"pixels to ignore are bool \(2, 2\)"):
        ThresholdSweep(5).update(MAPS, [0, 1], TRUTH, np.ones((2, 2), bool))
    for mask, message in (
        (np.zeros((2, 2)), "the mask is float64"),
        (np.ones((2, 2), bool), "the mask is bool"),
        (np.array([[-1, 1]]), r"holds \[-1\]"),
        (np.array([[1 << 40, 255]]), r"holds \[1099511627776\]"),
    ):
        with pytest.raises(DataError, match=message):
            check_mask_values(mask, 5, "the mask")
    check_mask_values(np.array([[0, 5, 255]]), 5, "the mask")


def everything(labels):
    """All losses that take labels (2, 3), by name."""
    features, weight, logits = torch.rand(2, 8, 4, 4), torch.rand(3, 8), torch.rand(2, 3)
    return {
        "recam": lambda: recam.reactivation_loss(features, weight, weight, labels).total,
        "bce": lambda: cam.bce_loss(logits, labels),
        "sce": lambda: recam.sce_loss(logits, labels),
        "sce_single": lambda: recam.sce_single_loss(logits, labels),
        "eps": lambda: eps_loss(torch.rand(2, 4, 4, 4), torch.rand(2, 1, 8, 8), labels),
    }


LOSSES = tuple(everything(None))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.uint8, torch.float64])
def test_labels_of_other_types_are_converted(loss, kind):
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    losses = []
    for given in (labels, labels.to(kind)):
        torch.manual_seed(0)
        losses.append(everything(given)[loss]())
    assert losses[0].dtype == losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[1.0, -1, 1], [-1, -1, 1]]), r"labels have values -1…1, .*make them \(labels \+ 1\) / 2"),
        (torch.tensor([[1, -1, 1], [-1, -1, 1]]), "labels have values -1…1"),
        (torch.tensor([[2.0, 0, 1], [0, 0, 1]]), "labels have values 0…2"),
        (torch.tensor([[float("nan"), 0, 1], [0, 0, 1]]), "labels have values nan…nan"),
    ],
)
def test_labels_outside_their_range(loss, labels, message):
    with pytest.raises(DataError, match=message):
        everything(labels)[loss]()


@pytest.mark.parametrize("labels", [torch.tensor([0, 2]), torch.ones(2, 4), torch.ones(1, 3)])
@pytest.mark.parametrize("loss", ["bce", "sce", "sce_single"])
def test_labels_of_another_shape(loss, labels):
    with pytest.raises(DataError, match=r"labels \(.*\) do not fit logits \(2, 3\)"):
        everything(labels)[loss]()


def test_labels_that_are_no_tensor():
    with pytest.raises(DataError, match="labels are a ndarray: give a tensor"):
        cam.bce_loss(torch.zeros(1, 2), np.ones((1, 2)))
    with pytest.raises(DataError, match=r"labels are \(B, K\), got \(2,\)"):
        recam.positive_classes(torch.ones(2))


def test_saliency_and_masks_outside_their_range():
    with pytest.raises(DataError, match="saliency has values 0…255"):
        eps_loss(torch.rand(1, 3, 4, 4), torch.tensor([0.0, 255]).expand(1, 1, 2, 2), torch.ones(1, 2))
    logits = torch.zeros(1, 1, 12, 24)
    for segmentation, message in (
        (torch.full((1, 12, 24), -1), "segmentation has values -1…-1"),
        (torch.full((1, 12, 24), 0.5), "segmentation has values 0.5…0.5"),
        (torch.ones(1, 12, 24, dtype=torch.bool), "segmentation is bool"),
    ):
        with pytest.raises(DataError, match=message):
            irn.irn_loss(logits, None, segmentation)


def test_an_unknown_resolution():
    with pytest.raises(RecipeError, match=r"unknown resolution 'ful'\. Did you mean 'full'"):
        cam.make_cams([torch.ones(1, 8, 2, 2)], torch.ones(5, 8), [0], (8, 8), "ful")


def test_an_image_that_is_not_of_the_maps():
    seed = SeedMaps(MAPS, np.array([0, 1]), (4, 4))
    with pytest.raises(DataError, match=r"an image is \(H, W, 3\) uint8 RGB, got uint8 \(4, 4\)"):
        PamrRefiner()(IMAGE[..., 0], seed)
    with pytest.raises(DataError, match=r"an image of \(2, 4\) with maps of an image of \(4, 4\)"):
        PamrRefiner()(IMAGE[:2], seed)
