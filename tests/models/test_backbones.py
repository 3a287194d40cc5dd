"""Backbones by hand: output stride, dilation, freezing, and what is refused. The battery over several is in
test_contracts."""

import pytest
import torch
from torch import nn

from recam.errors import RecipeError, WeightsError
from recam.models.backbones import Backbone
from recam.models.classifier import Classifier


def make(name="resnet18", **settings):
    torch.manual_seed(0)
    return Backbone(name, "none", **settings)


@pytest.mark.parametrize(("stride", "side"), [(8, 12), (16, 6), (32, 3)])
def test_output_stride(stride, side):
    backbone = make(output_stride=stride)
    assert backbone(torch.randn(1, 3, 96, 96)).shape == (1, 512, side, side)


def test_a_removed_stride_leaves_kernels_as_published_or_dilates_them():
    def dilations(dilate):
        return {
            module.dilation
            for module in make(output_stride=8, dilate=dilate).modules()
            if isinstance(module, nn.Conv2d)
        }

    assert dilations(False) == {(1, 1)}
    assert dilations(True) == {(1, 1), (2, 2), (4, 4)}
    assert make(output_stride=8, dilate=True)(torch.randn(1, 3, 64, 64)).shape == (1, 512, 8, 8)


def test_stages_freeze_from_the_image_on():
    def frozen(freeze_until):
        backbone = make(freeze_until=freeze_until)
        return {name.split(".")[1] for name, p in backbone.named_parameters() if not p.requires_grad}

    assert frozen(0) == set()
    assert frozen(1) == {"conv1", "bn1"}
    assert frozen(2) == {"conv1", "bn1", "layer1"}
    assert frozen(5) == {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert frozen("layer2") == frozen(3)
    assert not make(freeze_until=0).has_frozen_trunk
    assert make(freeze_until=1).has_frozen_trunk


def test_no_graph_is_built_through_what_is_frozen():
    backbone = make(freeze_until=3)
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    backbone(images).sum().backward()
    assert images.grad is None
    frozen = make(freeze_until=5)
    assert not frozen(torch.randn(1, 3, 64, 64)).requires_grad


def test_what_cannot_be_a_backbone():
    with pytest.raises(WeightsError, match="unknown backbone 'resnet-18'"):
        make("resnet-18")
    with pytest.raises(RecipeError, match="output_stride=4: choose 16"):
        make(output_stride=4)
    with pytest.raises(RecipeError, match=r"freeze_until=-1, but resnet18 has stages 1…5"):
        make(freeze_until=-1)
    with pytest.raises(RecipeError, match=r"no unit 'layr2'\. Did you mean 'layer2"):
        make(freeze_until="layr2")
    with pytest.raises(RecipeError, match="Choose a convolutional network"):
        make("vit_tiny_patch16_224")


def test_making_one_draws_the_same_weights_from_the_same_seed():
    one, other = make(), make()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_classifier():
    torch.manual_seed(0)
    classifier = Classifier(make(), 4, second_head=True).eval()
    images = torch.randn(2, 3, 64, 64)
    logits = classifier(images)
    assert logits.shape == (2, 4)
    # eq. 4: the mean of the class maps of eq. 2 over positions
    maps = torch.einsum("kd,bdhw->bkhw", classifier.weight_1, classifier.backbone(images))
    torch.testing.assert_close(logits, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert classifier.weight_2.shape == (4, 512)
    assert not torch.equal(classifier.weight_1, classifier.weight_2)
    with pytest.raises(RecipeError, match="was not re-activated"):
        _ = Classifier(make(), 4).weight_2
    with pytest.raises(RecipeError, match="at least one class, got 0"):
        Classifier(make(), 0)
