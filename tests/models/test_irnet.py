"""IRN's network: the backbone's levels, sizes for any image, what trains and what does not."""

import pytest
import torch
from torch import nn

from recam.errors import RecipeError
from recam.models.backbones import Backbone
from recam.models.irnet import IrNet, MeanShift

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def backbones():
    """Each backbone made once; IrNet freezes them."""
    torch.manual_seed(0)
    return {name: Backbone(name, "none") for name in ("resnet18", LITE)}


@pytest.mark.parametrize("name", ["resnet18", LITE])
def test_levels_are_the_features_on_the_way(backbones, name):
    backbone, images = backbones[name], torch.randn(2, 3, 70, 101)
    with torch.no_grad():
        levels = backbone.levels(images)
        assert [tuple(level.shape[2:]) for level in levels] == [(35, 51), (18, 26), (9, 13), (5, 7), (5, 7)]
        torch.testing.assert_close(levels[-1], backbone(images))
        # No unit has changed in place what the one before it gave.
        for level, end in zip(levels, backbone._stage_ends, strict=True):
            expected = images
            for unit in backbone.units[:end]:
                expected = unit(expected.clone())
            torch.testing.assert_close(level, expected)


def test_levels_have_a_graph_behind_the_frozen_units_only():
    levels = Backbone("resnet18", "none", freeze_until=2).levels(torch.randn(1, 3, 32, 32))
    assert [level.requires_grad for level in levels] == [False, False, True, True, True]


def test_levels_need_a_chain_of_five_stages(backbones):
    backbone = Backbone("resnet18", "none")
    backbone.is_chain = False
    with pytest.raises(RecipeError, match="'resnet18' is no chain of stages"):
        backbone.levels(torch.zeros(1, 3, 32, 32))
    backbone.is_chain, backbone._stage_ends = True, backbone._stage_ends[1:]
    with pytest.raises(
        RecipeError, match=r"5 levels are needed, but 'resnet18' has 4. Choose a network with a stem and four stages"
    ):
        backbone.levels(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("size", [(64, 96), (37, 50), (33, 1)])
@pytest.mark.parametrize("name", ["resnet18", LITE])
def test_outputs_are_a_quarter_of_the_image(backbones, name, size):
    net = IrNet(backbones[name]).eval()
    with torch.no_grad():
        output = net(torch.randn(2, 3, *size))
    strided = (-(-size[0] // 4), -(-size[1] // 4))
    assert output.edge_logits.shape == (2, 1, *strided)
    assert output.displacement.shape == (2, 2, *strided)


def test_output_stride_8():
    net = IrNet(Backbone("resnet18", "none", output_stride=8)).eval()
    with torch.no_grad():
        output = net(torch.randn(1, 3, 40, 52))
    assert output.edge_logits.shape[2:] == output.displacement.shape[2:] == (10, 13)


def test_a_resnets_stem_is_read_behind_its_pooling(backbones):
    backbone, images = backbones["resnet18"], torch.randn(1, 3, 45, 64)
    stem = nn.Sequential(*(backbone.net.get_submodule(name) for name in ("conv1", "bn1", "act1", "maxpool")))
    with torch.no_grad():
        torch.testing.assert_close(IrNet(backbone).features(images)[0], stem(images))


def test_branches_train_and_the_backbone_does_not(backbones):
    net = IrNet(backbones[LITE]).train()
    assert not any(module.training for module in net.backbone.modules())
    before = {name: value.clone() for name, value in net.backbone.state_dict().items()}
    output = net(torch.randn(2, 3, 64, 64))
    (output.edge_logits.sum() + output.displacement.square().sum()).backward()
    trained = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in net.named_parameters() if not name.startswith("backbone.")}
    assert all(torch.equal(value, before[name]) for name, value in net.backbone.state_dict().items())


def test_features_are_computed_once_a_batch(backbones):
    net, calls = IrNet(backbones["resnet18"]).eval(), []
    handle = net.backbone.units[0].register_forward_hook(lambda *_: calls.append(1))
    net(torch.randn(1, 3, 32, 32))
    handle.remove()
    assert len(calls) == 1
    assert not any(level.requires_grad for level in net.features(torch.randn(1, 3, 32, 32)))


def test_displacement_is_optional(backbones):
    with_branch, without = IrNet(backbones["resnet18"]), IrNet(backbones["resnet18"], displacement=False)
    assert without(torch.randn(1, 3, 32, 32)).displacement is None
    assert {name.split(".")[0] for name, _ in with_branch.named_parameters()} == {"backbone", "edge", "displacement"}
    assert {name.split(".")[0] for name, _ in without.named_parameters()} == {"backbone", "edge"}


def test_widths_are_the_published_ones(backbones):
    net = IrNet(backbones["resnet18"])
    shapes = [tuple(module.weight.shape) for module in net.edge.modules() if isinstance(module, nn.Conv2d)]
    assert shapes == [(32, c, 1, 1) for c in (64, 64, 128, 256, 512)] + [(1, 160, 1, 1)]
    assert net.edge.logits.bias is not None
    shapes = [tuple(module.weight.shape[:2]) for module in net.displacement.modules() if isinstance(module, nn.Conv2d)]
    assert shapes == [(64, 64), (128, 64), (256, 128), (256, 256), (256, 512), (256, 768), (256, 448), (2, 256)]


def test_edges_are_the_same_for_the_mirror_image(backbones):
    net, images = IrNet(backbones["resnet18"], displacement=False).eval(), torch.randn(2, 3, 64, 64)
    edges = net.edges(images)
    assert edges.shape == (2, 1, 16, 16)
    assert ((edges > 0) & (edges < 1)).all()
    torch.testing.assert_close(net.edges(images.flip(-1)).flip(-1), edges)


def test_mean_shift_by_hand():
    shift = MeanShift(2)
    maps = torch.tensor([[[[2.0, 4.0]], [[-10.0, 0.0]]]])  # means 3 and −5
    assert torch.equal(shift.train()(maps), maps)
    torch.testing.assert_close(shift.running_mean, torch.tensor([0.3, -0.5]))
    torch.testing.assert_close(shift.eval()(maps), torch.tensor([[[[1.7, 3.7]], [[-9.5, 0.5]]]]))
    torch.testing.assert_close(shift.running_mean, torch.tensor([0.3, -0.5]))


def test_backbones_whose_levels_lie_elsewhere_are_refused(monkeypatch):
    backbone = Backbone("resnet18", "none")
    monkeypatch.setattr(
        backbone, "levels", lambda images: [torch.zeros(1, 4, side, side) for side in (65, 33, 17, 9, 5)]
    )
    with pytest.raises(RecipeError, match=r"'resnet18' makes 65, 33, 17, 9, 5 of 65 pixels. Choose another backbone"):
        IrNet(backbone)
