"""BatchNorm folded into convolutions: by hand, on every kind of network that is asked, and what is refused."""

import pytest
import timm
import torch
from torch import nn

from recam.models.backbones import Backbone
from recam.models.folding import fold_batchnorm
from recam.models.segmenters import make_segmenter


def unsettle(network: nn.Module) -> nn.Module:
    """Statistics and affine parameters as a training leaves them, so that a forgotten one is noticed."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, least, most in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.8, 1.2),
                (module.weight.data, 0.8, 1.2),
            ):
                values.uniform_(least, most, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
    return network.eval()


def test_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0)).eval()
    network[0].weight.data[:] = 2.0
    network[1].running_mean[:], network[1].running_var[:], network[1].weight.data[:], network[1].bias.data[:] = (
        1,
        4,
        6,
        5,
    )
    fold_batchnorm(network)
    # (2x − 1) / √4 · 6 + 5 = 6x + 2
    torch.testing.assert_close(network[0].weight.flatten(), torch.full((3,), 6.0))
    torch.testing.assert_close(network[0].bias, torch.tensor([2.0]))
    assert isinstance(network[1], nn.Identity)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Backbone("tf_efficientnet_lite0", weights="none"),
        lambda: Backbone("resnet18", weights="none"),
        lambda: make_segmenter("deeplabv3plus", "resnet18", 3, "none"),
        lambda: make_segmenter("deeplabv2", "resnet18", 3, "none"),
        lambda: make_segmenter("upernet", "tu-tf_efficientnet_lite0", 3, "none", decoder_channels=16),
    ],
)
def test_gives_the_same_numbers_without_any_batchnorm(make):
    torch.manual_seed(0)
    network, images = unsettle(make()), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = network(images)
        found = fold_batchnorm(network)(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_leaves_what_does_not_follow_a_convolution_alone():
    densenet = unsettle(timm.create_model("densenet121", num_classes=2))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = densenet(images)
        torch.testing.assert_close(fold_batchnorm(densenet)(images), expected, rtol=1e-3, atol=1e-4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in densenet.modules())


def test_a_shared_convolution_is_left_alone():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, images):
            return self.second(self.conv(self.first(self.conv(images))))

    network, images = unsettle(Shared()), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(fold_batchnorm(network)(images), expected)


def test_a_convolution_that_something_else_reads_keeps_its_batchnorm():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, images):
            maps = self.conv(images)
            return maps + self.norm(maps)

    network, images = unsettle(Skip()), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(fold_batchnorm(network)(images), expected)
    assert isinstance(network.norm, nn.BatchNorm2d)


def test_gradients_still_reach_the_images():
    network = unsettle(Backbone("resnet18", weights="none", freeze_until=0)).requires_grad_(False)
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    (expected,) = torch.autograd.grad(network(images).square().sum(), images)
    (found,) = torch.autograd.grad(fold_batchnorm(network)(images).square().sum(), images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batchnorm(nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1)))
