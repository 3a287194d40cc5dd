import re

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods.edam import EdamSettings, check_saliency, edam_mask
from recam.methods.eps import EpsSettings, eps_loss


def logits_of(probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()[
        None
    ]  # (1, K + 1, h, w); their softmax is what was given


def test_eps_by_hand():
    # Background, a class on the salient pixels, a class beside them, a class that the image does not have; 1×2 pixels.
    probabilities = [[[0.1, 0.1]], [[0.7, 0.1]], [[0.1, 0.6]], [[0.1, 0.2]]]
    saliency = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    labels = torch.tensor([[1.0, 1.0, 0.0]])
    # Foreground: class 0. Background: its own channel and class 1, whose area is not salient.
    claimed = [0.5 * 0.7 + 0.5 * (1 - 0.2), 0.5 * 0.1 + 0.5 * (1 - 0.7)]
    expected = ((claimed[0] - 1) ** 2 + claimed[1] ** 2) / 2
    assert eps_loss(logits_of(probabilities), saliency, labels).item() == pytest.approx(expected)

    weighted = eps_loss(logits_of(probabilities), saliency, labels, EpsSettings(foreground_weight=1.0))
    assert weighted.item() == pytest.approx((0.3**2 + 0.1**2) / 2)


@pytest.mark.parametrize(("threshold", "is_foreground"), [(0.49, True), (0.5, False)])
def test_eps_overlap_must_exceed_its_threshold(threshold, is_foreground):
    probabilities = [[[0.2, 0.2]], [[0.8, 0.8]]]  # half of the class's area is salient
    saliency = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    foreground, background = (0.8, 0.2) if is_foreground else (0.0, 1.0)
    claimed = 0.5 * foreground + 0.5 * (1 - background)
    loss = eps_loss(logits_of(probabilities), saliency, torch.ones(1, 1), EpsSettings(overlap_threshold=threshold))
    assert loss.item() == pytest.approx(((claimed - 1) ** 2 + claimed**2) / 2)


def test_eps_saliency_is_brought_to_the_maps_by_the_nearest_pixel():
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    small = (torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    large, labels = small.repeat_interleave(4, 2).repeat_interleave(4, 3), torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    torch.testing.assert_close(eps_loss(logits, large, labels), eps_loss(logits, small, labels))


def test_eps_gradient():
    generator = torch.Generator().manual_seed(2)
    logits = (3 * torch.randn(2, 3, 2, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    saliency = (torch.rand(2, 1, 2, 3, generator=generator) > 0.4).double()
    assert torch.autograd.gradcheck(
        lambda maps: eps_loss(maps, saliency, torch.tensor([[1.0, 1.0], [1.0, 0.0]])), logits
    )


def test_eps_is_zero_for_maps_that_are_the_saliency_and_for_images_without_labels():
    salient = torch.tensor([[[[1.0, 0.0, 1.0]]]])
    right = torch.cat([40 * (1 - salient), 40 * salient], 1)  # background first
    assert eps_loss(right, salient, torch.ones(1, 1)).item() == pytest.approx(0, abs=1e-8)
    nothing = torch.tensor([[[[40.0, 40]], [[0, 0]]]])
    assert eps_loss(nothing, torch.zeros(1, 1, 1, 2), torch.zeros(1, 1)).item() == pytest.approx(0, abs=1e-8)


def test_edam_by_hand():
    settings = EdamSettings(saliency_threshold=0.5, ignore_below=0.2, confident_above=0.9)
    #            sure, not salient | sure, both | not salient | at θ | salient | at α | below α | zero
    first = [0.95, 0.95, 0.8, 0.8, 0.3, 0.2, 0.1, 0.0]
    second = [0.0, 0.98, 0.1, 0.1, 0.4, 0.1, 0.15, 0.0]
    salient = [0.0, 1.0, 0.4, 0.5, 0.6, 1.0, 1.0, 1.0]
    cams = np.array([[first], [second]], np.float32)
    cams[0, 0, 5] = np.float32(0.2)  # exactly α as it is stored
    mask = edam_mask(cams, [4, 7], np.array([salient]), settings)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[5, 8, 0, 0, 8, 5, 255, 255]]


def test_edam_published_settings_keep_all_that_is_salient():
    cams = np.array([[[0.05, 0.0, 1.0, 0.9]]], np.float32)
    saliency = np.array([[21, 21, 0, 20]], np.float32) / 255
    assert edam_mask(cams, [0], saliency).tolist() == [[1, 255, 1, 0]]
    # α = 0 ignores nothing, and a map of 0 is no claim.
    assert edam_mask(cams, [0], saliency, EdamSettings(ignore_below=0)).tolist() == [[1, 0, 1, 0]]


def test_edam_without_classes():
    assert edam_mask(np.zeros((0, 2, 3), np.float32), [], np.ones((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_saliency_that_does_not_fit():
    cams = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(DataError, match=re.escape("the saliency map is (4, 6) for maps of (2, 3)")):
        edam_mask(cams, [0], np.zeros((4, 6)))
    with pytest.raises(
        DataError, match=re.escape("photo.png is uint8, not float in [0, 1]: divide an 8-bit picture by 255")
    ):
        check_saliency(np.zeros((2, 3), np.uint8), (2, 3), "photo.png")
    with pytest.raises(DataError, match=re.escape("has values 0…255: it must be in [0, 1]")):
        edam_mask(cams, [0], np.array([[0, 0, 0], [0, 0, 255.0]]))
    with pytest.raises(DataError, match="2 indices for 1 maps"):
        edam_mask(cams, [0, 1], np.zeros((2, 3)))


def test_eps_tensors_that_do_not_fit():
    logits, saliency, labels = torch.zeros(2, 4, 3, 3), torch.zeros(2, 1, 6, 6), torch.zeros(2, 3)
    with pytest.raises(
        DataError, match=re.escape("logit maps (2, 3, 3, 3) and labels (2, 3) must be (B, K + 1, h, w) and (B, K)")
    ):
        eps_loss(logits[:, 1:], saliency, labels)
    with pytest.raises(DataError, match=re.escape("saliency (2, 6, 6) must be (2, 1, H, W)")):
        eps_loss(logits, saliency[:, 0], labels)
    with pytest.raises(DataError, match=re.escape("saliency is torch.uint8")):
        eps_loss(logits, saliency.byte(), labels)


def test_settings_that_make_no_sense():
    with pytest.raises(
        RecipeError,
        match=re.escape("EPS: overlap_threshold must be in [0, 1], got 2; foreground_weight must be in [0, 1], got -1"),
    ):
        EpsSettings(overlap_threshold=2, foreground_weight=-1)
    with pytest.raises(RecipeError, match=re.escape("ignore_below 0.9 is above confident_above 0.1: exchange them")):
        EdamSettings(ignore_below=0.9, confident_above=0.1)
