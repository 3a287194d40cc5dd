"""Pretrained networks for other bands than RGB: the first convolution as timm adapts it, for every network of a run."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from recam.data.reading import Reading
from recam.errors import RecipeError, StoreError, WeightsError
from recam.models.backbones import Backbone, BackboneSettings
from recam.models.bands import adapt_bands, adapt_normalisation, bands_of
from recam.models.classifier import Classifier
from recam.models.encoders import encoder_normalisation
from recam.models.folding import fold_batchnorm
from recam.models.saved import (
    load_classifier,
    load_irnet,
    load_reading,
    load_segmenter,
    make_irnet,
    save_classifier,
    save_irnet,
    save_segmenter,
)
from recam.models.segmenters import SegmenterSettings

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights of LITE for RGB, and the weights of its first convolution."""
    torch.manual_seed(0)
    state = timm.create_model(LITE).state_dict()
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    save_file(state, path)
    return str(path), state["conv_stem.weight"]


@pytest.mark.parametrize("bands", [1, 2, 4, 7])
def test_the_first_convolution_is_timm_s(weights, bands):
    path, stem = weights
    net = Backbone(LITE, path, bands=bands)
    found = net.net.conv_stem.weight
    turns = [stem[:, band % 3] for band in range(bands)]
    expected = stem.sum(1, keepdim=True) if bands == 1 else torch.stack(turns, 1) * 3 / bands
    torch.testing.assert_close(found, expected)
    assert net(torch.randn(1, bands, 40, 50)).shape == (1, net.channels, 3, 4)
    assert not found.requires_grad  # the stem is frozen, as it is for RGB
    assert len(net.mean) == len(net.std) == bands


def test_an_image_that_is_alike_in_all_bands_gives_what_it_gave(weights):
    path, _ = weights
    plain = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = Backbone(LITE, path)(plain.expand(-1, 3, -1, -1))
    for bands in (1, 3, 6):
        found = Backbone(LITE, path, bands=bands)(plain.expand(-1, bands, -1, -1))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_means_follow_the_weights():
    assert adapt_normalisation((0.1, 0.2, 0.3), 5) == (0.1, 0.2, 0.3, 0.1, 0.2)
    assert adapt_normalisation((0.1, 0.2, 0.3), 1) == pytest.approx((0.2,))
    assert encoder_normalisation("resnet18", "none", 2) == ((0.485, 0.456), (0.229, 0.224))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_families(name):
    assert Backbone(name, "none", bands=4)(torch.randn(1, 4, 64, 64)).shape[2:] == (4, 4)


def test_weights_of_as_many_bands_are_taken_as_they_are(weights, tmp_path):
    path, _ = weights
    four = Backbone(LITE, path, bands=4)
    save_file({name: value.contiguous() for name, value in four.net.state_dict().items()}, tmp_path / "4.safetensors")
    again = Backbone(LITE, str(tmp_path / "4.safetensors"), bands=4)
    torch.testing.assert_close(again.net.conv_stem.weight, four.net.conv_stem.weight)
    with pytest.raises(WeightsError, match="1 have another shape"):
        Backbone(LITE, str(tmp_path / "4.safetensors"), bands=5)
    segmenter = SegmenterSettings("deeplabv3plus", f"tu-{LITE}", decoder_channels=16)
    torch.manual_seed(0)
    network = segmenter.make(2, str(tmp_path / "4.safetensors"), 4)
    torch.testing.assert_close(network.encoder.model.conv_stem.weight, four.net.conv_stem.weight.contiguous())
    with pytest.raises(RecipeError, match=r"'deeplabv3plus' on 'tu-.*' cannot be brought to images of 3 bands"):
        segmenter.make(2, str(tmp_path / "4.safetensors"))


@pytest.mark.parametrize(
    ("model", "encoder", "bands"),
    [("deeplabv3plus", "resnet18", 1), ("deeplabv2", f"tu-{LITE}", 4), ("upernet", f"tu-{LITE}", 2)],
)
def test_segmentation_networks(model, encoder, bands):
    torch.manual_seed(0)
    network = SegmenterSettings(model, encoder, decoder_channels=16).make(3, "none", bands)
    assert network.training
    assert bands_of(network) == bands
    assert fold_batchnorm(network.eval())(torch.randn(1, bands, 50, 70)).shape == (1, 4, 50, 70)


def test_networks_are_kept_with_how_their_images_were_read(tmp_path):
    reading = Reading(bands=(4, 3, 2, 1), value_range=((0, 10), (0, 20), (0, 30), (5, 6)))
    own = BackboneSettings(LITE, "none")
    torch.manual_seed(0)
    classifier = Classifier(own.make(4), 2).eval()
    save_classifier(tmp_path / "a.safetensors", classifier, own, ("a", "b"), reading)
    images = torch.randn(1, 4, 48, 48)
    torch.testing.assert_close(load_classifier(tmp_path / "a.safetensors")(images), classifier(images))
    irnet = make_irnet(own, True, 4).eval()
    save_irnet(tmp_path / "b.safetensors", irnet, own, reading)
    torch.testing.assert_close(load_irnet(tmp_path / "b.safetensors").edges(images), irnet.edges(images))
    segmenter = SegmenterSettings("deeplabv3plus", f"tu-{LITE}", decoder_channels=16)
    network = segmenter.make(2, "none", 4).eval()
    save_segmenter(tmp_path / "c.safetensors", network, segmenter, ("a", "b"), (0.5,) * 4, (0.5,) * 4, reading)
    loaded = load_segmenter(tmp_path / "c.safetensors")
    assert loaded.reading == reading
    torch.testing.assert_close(loaded.network(images), network(images))
    assert {load_reading(tmp_path / f"{name}.safetensors") for name in "abc"} == {reading}
    # Weights of other bands than the file says are damage.
    save_segmenter(tmp_path / "d.safetensors", network, segmenter, ("a", "b"), (0.5,) * 3, (0.5,) * 3, reading)
    with pytest.raises(StoreError, match="3 means, 3 deviations for 4 bands"):
        load_segmenter(tmp_path / "d.safetensors")


def test_a_network_without_a_convolution_on_the_image_is_refused():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, images):
            return images * self.scale

    with pytest.raises(RecipeError, match="mine cannot be brought to images of 5 bands"):
        adapt_bands(Fixed(), 5, "mine")
