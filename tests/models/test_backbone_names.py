"""42 names of as many families of timm: each has features of images of any size, at shapes alone (no arithmetic), so
that large networks cost nothing."""

import pytest
import torch

from recam.models.backbones.family import family_of

ANY_SIZE = {
    "resnet50": 16,
    "resnext26ts": 16,
    "resnet18d": 32,
    "resnetv2_18": 32,
    "seresnet33ts": 32,
    "res2net50_14w_8s": 32,
    "resnest14d": 32,
    "regnety_002": 32,
    "densenet121": 32,
    "vgg11_bn": 32,
    "tf_efficientnet_lite2": 16,
    "tf_efficientnetv2_b0": 32,
    "mobilenetv3_small_100": 32,
    "mnasnet_050": 32,
    "repvgg_a0": 16,
    "hgnetv2_b0": 32,
    "hrnet_w18_small": 32,
    "legacy_seresnet18": 32,
    "convnext_atto": 16,
    "convnextv2_atto": 16,
    "inception_next_atto": 16,
    "mambaout_femto": 16,
    "poolformer_s12": 32,
    "focalnet_tiny_srf": 32,
    "davit_tiny": 32,
    "pvt_v2_b0": 32,
    "test_maxvit": 32,
    "mobilevit_xxs": 16,
    "fastvit_t8": 32,
    "vit_small_patch16_224": 16,
    "vit_small_patch14_dinov2": 14,
    "vit_small_patch16_dinov3": 16,
    "vit_base_patch16_clip_224": 16,
    "samvit_base_patch16": 16,
    "deit3_small_patch16_224": 16,
    "eva02_small_patch14_224": 14,
    "swin_tiny_patch4_window7_224": 32,
    "swinv2_tiny_window8_256": 32,
}
OWN_SIZE = {
    "beit_base_patch16_224": (16, 14),
    "mixer_s16_224": (16, 14),
    "coatnet_0_rw_224": (32, 7),
    "levit_128": (32, 4),
}
"""Stride, and rows of the grid."""


def shape(name, stride, height, width):
    family = family_of(name)
    with torch.device("meta"), torch.no_grad():
        net = family.make(name, stride, dilate=False).eval()
        features = family.features(net, family.pad(net, torch.empty(2, 3, height, width)))
    assert all(name in dict(net.named_modules()) for name in family.units(net)[0]), "its units are its modules"
    return features.shape


@pytest.mark.parametrize("name", ANY_SIZE)
def test_features_cover_images_of_any_size(name):
    batch, _, rows, columns = shape(name, ANY_SIZE[name], 130, 200)
    assert batch == 2
    for found, side in ((rows, 130), (columns, 200)):
        assert side // ANY_SIZE[name] <= found <= -(-side // ANY_SIZE[name])


@pytest.mark.parametrize("name", OWN_SIZE)
def test_networks_of_one_size_read_images_brought_to_it(name):
    stride, side = OWN_SIZE[name]
    batch, _, rows, columns = shape(name, stride, 130, 200)
    assert (batch, rows, columns) == (2, side, side)
