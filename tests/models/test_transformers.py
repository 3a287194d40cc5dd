"""Transformer classifiers, as small as timm makes them: features equal to timm's own, and CAM, ReCAM, SEAM, AdvCAM and
ONNX on each."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from recam.export.model import CASES, MapsNetwork, _trace, compare
from recam.export.tracing import make_traceable, resize_bicubic, tracing_freely
from recam.inference.class_maps import make_class_maps
from recam.methods.advcam import AdvCamSettings
from recam.models.backbones import Backbone, BackboneSettings
from recam.models.backbones.family import family_of
from recam.pipeline.maker import Views, makers
from recam.pipeline.training import make_training
from recam.recipe.recipe import load_recipe

STAGES = {"embed_dim": 16, "depths": (1, 2, 1, 1), "num_heads": (1, 1, 2, 2)}
NETWORKS = {  # name: (stride, arguments that make it small, size that it is made for)
    "vit_tiny_patch16_224": (16, {"embed_dim": 32, "depth": 5, "num_heads": 2}, 224),
    "deit_tiny_distilled_patch16_224": (16, {"embed_dim": 32, "depth": 5, "num_heads": 2}, 224),
    "vit_small_patch14_dinov2": (14, {"embed_dim": 32, "depth": 5, "num_heads": 2}, 518),
    "eva02_tiny_patch14_224": (14, {"embed_dim": 32, "depth": 5, "num_heads": 2}, 224),
    "vit_small_patch16_dinov3": (16, {"embed_dim": 32, "depth": 5, "num_heads": 2}, 256),
    "swin_tiny_patch4_window7_224": (32, STAGES, 224),
    "test_maxvit": (32, {}, 160),
    "convnext_atto": (16, {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)}, 224),
}


def shrink(monkeypatch):
    """Has timm make the networks small."""
    own = timm.create_model

    def create(name, **options):
        return own(name, **{**NETWORKS.get(name, (0, {}))[1], **options})

    monkeypatch.setattr(timm, "create_model", create)
    return create


@pytest.fixture(params=NETWORKS)
def name(request, monkeypatch):
    shrink(monkeypatch)
    return request.param


def make(name, freeze_until=0):
    torch.manual_seed(0)
    return Backbone(name, "none", NETWORKS[name][0], freeze_until=freeze_until).eval()


def images(*size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_features_are_those_of_timm(name):
    """At the size that a network is made for nothing is padded or interpolated: numbers are equal, laid out by hand."""
    backbone, (stride, _, side) = make(name), NETWORKS[name]
    family = family_of(name)
    theirs = timm.create_model(name, num_classes=0).eval() if family.rank == 1 or "maxvit" in name else None
    if theirs is None:  # ConvNeXt has its last stride removed: at stride 32 it is timm's
        backbone, theirs, stride = Backbone(name, "none", 32).eval(), timm.create_model(name, num_classes=0).eval(), 32
    theirs.load_state_dict(backbone.net.state_dict())
    seen = images(side, side, batch=1)
    output = theirs.forward_features(seen)
    found = backbone(seen)
    assert found.shape[2:] == (side // stride, side // stride)
    if output.ndim == 3:  # tokens, row by row
        output = output[:, theirs.num_prefix_tokens :].unflatten(1, (side // stride, -1)).permute(0, 3, 1, 2)
    elif output.shape[1] != backbone.channels:
        output = output.permute(0, 3, 1, 2)
    torch.testing.assert_close(found, output, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_five_levels_end_in_the_features(name):
    backbone = make(name)
    levels = backbone.levels(images(70, 100))
    assert len(levels) == 5
    assert torch.equal(levels[-1], backbone(images(70, 100)))
    assert all(level.ndim == 4 and level.isfinite().all() for level in levels)
    if not backbone.is_chain:
        assert {level.shape[2:] for level in levels} == {levels[-1].shape[2:]}


def test_levels_of_a_plain_transformer_are_outputs_of_its_blocks(monkeypatch):
    shrink(monkeypatch)
    backbone, made = make("vit_tiny_patch16_224"), []
    for block in backbone.net.blocks:
        block.register_forward_hook(lambda module, inputs, output: made.append(output))
    with torch.no_grad():
        levels = backbone.levels(images(32, 48, batch=1))
    tokens = made[2][:, 1:]  # of the third block of five, without the class token
    assert torch.equal(levels[2], tokens.transpose(1, 2).reshape(1, 32, 2, 3))


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("tiny")


def test_trainings_learn_and_make_maps(name, recipe):
    backbone = make(name)
    for method in ("cam", "recam", "seam"):
        check_training(make_training(recipe, method), backbone)


def check_training(training, backbone):
    backbone.zero_grad()
    network = training.network(backbone, 3).train()
    batch = {"images": images(64, 64), "labels": torch.tensor([[1.0, 0, 1], [0, 1, 0]])}
    losses = training.losses(network, batch)
    losses["loss"].backward()
    learned = [p.grad for p in network.backbone.parameters() if p.requires_grad]
    assert all(gradient is not None for gradient in learned), "several processes wait for every gradient"
    assert sum(float(gradient.abs().sum()) for gradient in learned) > 0
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    made = make_class_maps(network.eval(), photo, [0, 2], training.weightings[:1], (1.0,), True, None, training.maps)
    maps = made[training.weightings[0]].maps
    assert maps.shape == (2, 13, 18)
    assert np.isfinite(maps).all()


def test_advcam_climbs(name, recipe):
    training = make_training(recipe, "cam")
    network = training.network(make(name), 3).eval().requires_grad_(False)
    maker = makers["advcam"]("advcam", makers["advcam"].Settings(**vars(AdvCamSettings(steps=2))))
    views = maker.views(Views((1.0,), False, None, "w"))
    photo = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    maps = maker.make(training, network, views)(photo, [1]).maps
    assert maps.shape == (1, 16, 20)
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3", "test_maxvit"])
def test_onnx_gives_the_same(name, recipe, tmp_path, monkeypatch):
    shrink(monkeypatch)
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    network = make_training(recipe, "cam").network(make(name), 3).eval()
    exported = MapsNetwork(network, network.weight_1).eval()
    free = {"logits": {0: "batch"}, "class_maps": {0: "batch", 2: "map_height", 3: "map_width"}}
    _trace(make_traceable(exported), free, tmp_path / "a.onnx", "a.onnx", 3)
    assert len(CASES) == 4
    assert compare(exported, tmp_path / "a.onnx", tuple(free))["passed"]


def test_bicubic_resizing_as_the_exporter_can_follow_it():
    maps = images(14, 11)
    for size in ((6, 10), (14, 11), (20, 9)):
        expected = F.interpolate(maps, size, mode="bicubic", antialias=True)
        torch.testing.assert_close(resize_bicubic(maps, size), expected, rtol=1e-5, atol=1e-5)


def test_settings_make_them(monkeypatch):
    shrink(monkeypatch)
    assert BackboneSettings("eva02_tiny_patch14_224", "none", 14).make().channels == 32


def test_resizing_is_passed_on_however_it_is_called():
    maps = torch.rand(1, 2, 5, 4)
    expected = F.interpolate(maps, None, 2, "bilinear", False)
    positions = F.interpolate(maps, (7, 6), mode="bicubic", antialias=True)
    with tracing_freely():
        assert torch.equal(F.interpolate(maps, None, 2, "bilinear", False), expected)
        assert torch.equal(F.interpolate(maps, None, 2, "bilinear", align_corners=False), expected)
        found = F.interpolate(maps, (7, 6), None, "bicubic", antialias=True)
    torch.testing.assert_close(found, positions, rtol=1e-5, atol=1e-5)
