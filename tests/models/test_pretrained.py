"""Published weights by words and tags, against what timm lists; nothing is downloaded."""

import pytest
import timm

from recam.errors import WeightsError
from recam.models import weights
from recam.models.backbones import Backbone
from recam.models.pretrained import find_weights, list_tags, published
from recam.models.weights import read_state


@pytest.mark.parametrize(
    ("name", "word", "tag"),
    [
        ("vit_base_patch16_224", "imagenet", "augreg2_in21k_ft_in1k"),
        ("vit_base_patch16_224.mae", "imagenet", "mae"),
        ("vit_base_patch16_224", "dino", "dino"),
        ("vit_base_patch16_224", "imagenet21k", "augreg_in21k"),
        ("vit_base_patch16_224", "mae", "mae"),
        ("vit_base_patch16_224", "augreg_in1k", "augreg_in1k"),
        ("vit_small_patch14_dinov2", "dinov2", "lvd142m"),
        ("vit_small_patch16_dinov3", "dinov3", "lvd1689m"),
        ("convnext_tiny", "dinov3", "dinov3_lvd1689m"),
        ("vit_base_patch16_clip_224", "clip", "laion2b"),
        ("vit_base_patch16_siglip_224", "siglip", "v2_webli"),
        ("samvit_base_patch16", "sam", "sa1b"),
        ("swin_tiny_patch4_window7_224", "imagenet21k", "ms_in22k"),
        ("convnextv2_tiny", "mae", "fcmae"),
    ],
)
def test_words_stand_for_tags_of_timm(name, word, tag):
    found = find_weights(name, word)
    assert found.name.partition(".")[2] == tag
    assert timm.get_pretrained_cfg(found.name).has_weights
    assert found.licence == timm.get_pretrained_cfg(found.name).license


def test_weights_fine_tuned_afterwards_come_last():
    assert find_weights("deit_small_patch16_224", "imagenet").name == "deit_small_patch16_224.fb_in1k"
    tags = list(list_tags("beit_base_patch16_224"))
    assert "in22k_ft_in22k_in1k" in tags
    assert find_weights("vit_base_patch8_224", "imagenet21k").name == "vit_base_patch8_224.augreg_in21k"


def test_a_word_that_a_network_has_no_weights_for():
    with pytest.raises(WeightsError, match=r"no 'dinov2' weights of 'resnet50' are published\. It has .*'tv_in1k'"):
        find_weights("resnet50", "dinov2")
    with pytest.raises(WeightsError, match=r"Backbones that do, among others: vit_\w+_patch14_dinov2"):
        find_weights("vit_small_patch14_224", "dinov2")
    assert published("resnet50", "dinov2") is None
    assert find_weights("resnet50", "weights/mine.pth") is None
    assert find_weights("mine", "imagenet") is None


def test_near_matches_of_a_misspelled_word():
    with pytest.raises(WeightsError, match=r"'dinov' is neither .* Did you mean 'dino'"):
        read_state("vit_base_patch16_224", "dinov")
    with pytest.raises(WeightsError, match=r"Did you mean .*'augreg_in21k'"):
        read_state("vit_base_patch16_224", "augreg_in21")


def test_the_network_of_a_tag_is_that_of_the_name(monkeypatch):
    """What is downloaded under a tag fills the backbone of the plain name."""
    own = timm.create_model

    def create(name, pretrained=False, **options):
        made.append((name, pretrained))
        return own(name.partition(".")[0], **options)

    made = []
    monkeypatch.setattr(weights.timm, "create_model", create)
    monkeypatch.setattr(weights, "can_download", lambda name: name == "test_vit.r160_in1k")
    backbone = Backbone("test_vit", "r160_in1k")
    assert ("test_vit.r160_in1k", True) in made
    assert backbone.mean == timm.get_pretrained_cfg("test_vit.r160_in1k").mean


def test_terms():
    assert published("vit_small_patch16_dinov3", "dinov3").is_restricted
    assert "licence dinov3-license" in published("vit_small_patch16_dinov3", "dinov3").terms
    assert not published("vit_small_patch14_dinov2", "dinov2").is_restricted
