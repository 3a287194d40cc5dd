"""Backbones: one battery over families of networks, then output stride, dilation, freezing and refusals by hand."""

import copy

import pytest
import timm
import torch
from torch import nn

from recam.errors import RecipeError, WeightsError
from recam.models.backbones import Backbone, Family, backbones
from recam.models.backbones.family import OwnNetwork, family_of
from recam.models.classifier import Classifier
from recam.models.irnet import IrNet

CONVOLUTIONAL = {
    "resnet18": 16,
    "tf_efficientnet_lite0": 16,
    "convnext_atto": 16,
    "regnety_002": 8,
    "mobilenetv3_small_050": 16,
    "vgg11_bn": 16,
    "resnetv2_18": 32,
    "mambaout_femto": 32,  # not convolutional alone, but made like one; its features are (B, h, w, D)
}
PLAIN = {
    "vit_tiny_patch16_224": 16,
    "test_vit3": 16,  # registers; an attention pool in place of a class token
    "deit_tiny_distilled_patch16_224": 16,  # two prefix tokens
    "eva02_tiny_patch14_224": 14,  # rotary positions
    "vit_tiny_r_s16_p8_224": 32,  # convolutional stem with BatchNorm's relatives
    "xcit_nano_12_p16_224": 16,
}
WINDOWS = {"swin_tiny_patch4_window7_224": 32}
STRIDES = {**CONVOLUTIONAL, **PLAIN, **WINDOWS}


def make(name="test_resnet", **settings):
    torch.manual_seed(0)
    return Backbone(name, "none", **settings)


def images(height=64, width=64, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=STRIDES)
def backbone(request):
    return make(request.param, output_stride=STRIDES[request.param], freeze_until=2)


class TestFamily:
    """What holds for each network, of whichever family."""

    def test_families_take_their_own(self, backbone):
        kind = "convolutional" if backbone.name in CONVOLUTIONAL else "transformer"
        assert backbone.family is backbones[kind]

    @pytest.mark.parametrize("size", [(64, 64), (96, 50), (33, 130)])
    def test_features_cover_images_of_any_size(self, backbone, size):
        with torch.no_grad():
            features = backbone.eval()(images(*size))
        assert features.shape[:2] == (2, backbone.channels)
        up = [-(-side // backbone.output_stride) for side in size]
        down = [max(1, side // backbone.output_stride) for side in size]
        # Convolutions without padding leave a rest of the image out; a transformer's image is padded.
        for side, least, most in zip(features.shape[2:], down, up, strict=True):
            assert (least if backbone.name in CONVOLUTIONAL else most) <= side <= most
        assert features.isfinite().all()

    def test_features_keep_the_layout_of_the_image(self, backbone):
        """What changes at the top right changes features there most."""
        image = images(128, 192, batch=1)
        changed = image.clone()
        changed[..., :32, -32:] += 3
        with torch.no_grad():
            moved = (backbone.eval()(changed) - backbone(image)).abs().sum(1)[0]
        row, column = divmod(int(moved.argmax()), moved.shape[1])
        assert row <= moved.shape[0] // 2
        assert column >= moved.shape[1] // 2

    def test_gradient_reaches_what_trains_and_nothing_else(self, backbone):
        backbone.train().zero_grad()
        backbone(images()).square().mean().backward()
        frozen = {id(p) for unit in backbone.units[: backbone._frozen] for p in unit.parameters()}
        assert frozen
        for name, parameter in backbone.named_parameters():
            if id(parameter) in frozen:
                assert not parameter.requires_grad, name
            # Several processes wait for the gradient of whatever says that it trains.
            assert parameter.requires_grad == (parameter.grad is not None), name
        assert any(parameter.requires_grad for parameter in backbone.parameters())

    def test_gradient_reaches_the_image_where_nothing_is_frozen(self, backbone):
        free = make(backbone.name, output_stride=backbone.output_stride, freeze_until=0).eval()
        image = images(50, 70, batch=1).requires_grad_()
        free(image).square().mean().backward()
        assert image.grad.abs().sum() > 0

    def test_batchnorm_keeps_its_statistics(self, backbone):
        backbone.train()
        assert backbone.training
        norms = [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        assert not any(norm.training for norm in norms)
        before = [buffer.clone() for buffer in backbone.buffers()]
        with torch.no_grad():
            backbone(images())
        assert all(torch.equal(old, new) for old, new in zip(before, backbone.buffers(), strict=True))

    def test_trunk_and_top_where_there_is_a_chain(self, backbone):
        backbone.eval()
        assert backbone.is_chain == (backbone.name not in PLAIN)
        if not backbone.is_chain:
            with pytest.raises(RecipeError, match=rf"{backbone.name} is no chain.*Set train\.cache_features = 0"):
                backbone.check_trunk()
            with pytest.raises(RecipeError, match=r"IRN needs|is no chain of stages\. Choose a network with a stem"):
                IrNet(backbone)
            return
        backbone.check_trunk()
        with torch.no_grad():
            trunk = backbone.trunk(images(50, 70))
            assert torch.equal(backbone.top(trunk), backbone(images(50, 70)))
            padded = backbone.family.pad(backbone.net, images(50, 70))
            expected = backbone.family.as_map(backbone.net, backbone.net.forward_features(padded))
            torch.testing.assert_close(backbone.top(trunk), expected, rtol=1e-4, atol=1e-5)
        assert not backbone.trunk(images()).requires_grad

    def test_published_weights_fit(self, backbone):
        """Nothing is made for the image size that the hub's tensors would not fill."""
        with torch.device("meta"):  # shapes alone
            published = timm.create_model(backbone.name, num_classes=0).state_dict()
        own = backbone.net.state_dict()
        assert {key: value.shape for key, value in own.items()}.items() <= {
            key: value.shape for key, value in published.items()
        }.items()

    def test_a_copy_stands_alone(self, backbone):
        other = copy.deepcopy(backbone).eval()
        with torch.no_grad():
            before = backbone.eval()(images())
            for parameter in other.parameters():
                parameter.zero_()
            assert torch.equal(backbone(images()), before)
            assert not torch.equal(other(images()), before)

    def test_stages_and_units_that_it_does_not_have(self, backbone):
        with pytest.raises(RecipeError, match=rf"freeze_until=99, but {backbone.name} has stages 1…\d"):
            backbone._count_frozen(99)
        last = backbone._unit_names[-1]
        with pytest.raises(RecipeError, match=rf"has no unit '{last}x'\. Did you mean .*'{last}'"):
            backbone._count_frozen(f"{last}x")


@pytest.mark.parametrize(("stride", "side"), [(8, 12), (16, 6), (32, 3)])
def test_output_stride(stride, side):
    backbone = make(output_stride=stride)
    assert backbone(torch.randn(1, 3, 96, 96)).shape == (1, 96, side, side)


def test_a_removed_stride_leaves_kernels_as_published_or_dilates_them():
    def dilations(dilate):
        return {
            module.dilation
            for module in make(output_stride=8, dilate=dilate).modules()
            if isinstance(module, nn.Conv2d)
        }

    assert dilations(False) == {(1, 1)}
    assert dilations(True) == {(1, 1), (2, 2), (4, 4)}
    assert make(output_stride=8, dilate=True)(torch.randn(1, 3, 64, 64)).shape == (1, 96, 8, 8)


def frozen(freeze_until, name="test_resnet", **settings):
    backbone = make(name, freeze_until=freeze_until, **settings)
    return {key.split(".")[1] for key, p in backbone.named_parameters() if not p.requires_grad}


def test_stages_freeze_from_the_image_on():
    assert frozen(0) == set()
    assert frozen(1) == {"conv1", "bn1"}
    assert frozen(2) == {"conv1", "bn1", "layer1"}
    assert frozen(5) == {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert frozen("layer2") == frozen(3)
    make(freeze_until=1).check_trunk()
    with pytest.raises(
        RecipeError, match=r"train\.cache_features: test_resnet has no frozen trunk\. Set backbone\.free"
    ):
        make(freeze_until=0).check_trunk()


def test_stages_of_a_transformer_are_its_stem_and_its_blocks():
    stem = {"patch_embed", "cls_token", "pos_embed"}

    def blocks(freeze_until):
        backbone = make("test_vit", freeze_until=freeze_until)
        names = [name for name, p in backbone.net.named_parameters() if not p.requires_grad]
        assert not names or stem <= {name.split(".")[0] for name in names}
        return {name.split(".")[1] for name in names if name.startswith("blocks.")}

    assert frozen(0, "test_vit") == set()
    assert blocks(1) == set()
    assert blocks(3) == blocks("blocks.1") == {"0", "1"}
    assert len(make("test_vit")._stage_ends) == 1 + len(make("test_vit").net.blocks)
    assert frozen(2, "swin_tiny_patch4_window7_224", output_stride=32) == {"patch_embed", "layers"}


def test_no_graph_is_built_through_what_is_frozen():
    backbone = make(freeze_until=3)
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    backbone(images).sum().backward()
    assert images.grad is None
    frozen = make(freeze_until=5)
    assert not frozen(torch.randn(1, 3, 64, 64)).requires_grad


def test_tokens_are_laid_out_as_the_patches_of_the_image():
    backbone = make("vit_tiny_patch16_224").eval()
    image = images(48, 80)
    with torch.no_grad():
        tokens = backbone.net.forward_features(image)  # (B, 1 + 15, D)
        features = backbone(image)
        padded = backbone(images(41, 70))
    assert features.shape == (2, 192, 3, 5)
    assert torch.equal(features[:, :, 1, 2], tokens[:, 1 + 5 + 2])
    assert padded.shape == (2, 192, 3, 5)


def test_irn_reads_the_five_levels_of_a_window_transformer():
    network = IrNet(make("swin_tiny_patch4_window7_224", output_stride=32)).eval()
    assert network.edges(images(50, 70, batch=1)).shape == (1, 1, 13, 18)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_stride": 4}, "output_stride=4: choose 16"),
        ({"output_stride": 14}, "output_stride=14: choose 16"),
        ({"freeze_until": -1}, r"freeze_until=-1, but test_resnet has stages 1…5"),
        ({"freeze_until": "layr2"}, r"no unit 'layr2'\. Did you mean 'layer2"),
        ({"name": "vit_base_patch16_rope_mixed_ape_224", "output_stride": 32}, "at stride 16, which cannot be changed"),
        ({"name": "efficientvim_m1", "output_stride": 32}, "gives 4 outputs, not a feature map"),
        (
            {"name": "mixer_s16_224", "output_stride": 32},
            r"has features at stride 16.*Set backbone\.output_stride = 16",
        ),
        ({"name": "mixer_s16_224", "dilate": True}, r"takes no dilation\. Set backbone\.dilate = false"),
        (
            {"name": "vit_tiny_patch16_224", "output_stride": 8},
            r"output_stride=8: the transformer 'vit_tiny_patch16_224' has features at stride 16, which cannot be "
            r"changed\. Set backbone\.output_stride = 16",
        ),
        ({"name": "swin_tiny_patch4_window7_224"}, r"at stride 32, .*Set backbone\.output_stride = 32"),
        ({"name": "vit_tiny_patch16_224", "dilate": True}, r"no kernels to dilate\. Set backbone\.dilate = false"),
        ({"name": "mobilenetv3_small_050", "dilate": True}, r"takes no dilation in timm.*Set backbone\.dilate"),
    ],
)
def test_what_cannot_be_a_backbone(settings, message):
    with pytest.raises(RecipeError, match=message):
        make(**settings)


@pytest.mark.parametrize("weights", ["none", "bundled"])
@pytest.mark.parametrize("name", ["resnet-18", "convolutional", "transformer"])
def test_an_unknown_name(name, weights):
    with pytest.raises(WeightsError, match=f"unknown backbone '{name}'"):
        Backbone(name, weights)
    with pytest.raises(WeightsError, match=r"'resnet18'"):
        Backbone("resnet-18", weights)


@pytest.fixture
def entered(monkeypatch):
    """Registers backbones that are gone after the test."""
    monkeypatch.setattr(backbones, "_entries", dict(backbones.items()))
    return backbones.register


def test_a_network_of_ones_own(entered):
    @entered("mine")
    def make_mine(output_stride, dilate):
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4)), nn.Conv2d(4, 5, output_stride // 4, 4)
        )
        network.mean = (0.1, 0.2, 0.3)
        return network

    backbone = make("mine").train()
    assert isinstance(backbone.family, OwnNetwork)
    assert backbone(images()).shape == (2, 5, 4, 4)
    assert (backbone.channels, backbone.mean, backbone.std) == (5, (0.1, 0.2, 0.3), (0.229, 0.224, 0.225))
    backbone.check_trunk()
    assert not backbone.net[0][1].training
    assert [p.requires_grad for p in backbone.parameters()] == [False] * 4 + [True] * 2
    with pytest.raises(WeightsError, match="no ImageNet weights for 'mine'"):
        Backbone("mine")
    with pytest.raises(WeightsError, match=r"unknown backbone 'mime'\. Did you mean 'mine'"):
        make("mime")


def test_a_family_of_ones_own_goes_before_ours(entered, monkeypatch):
    class Wide(Family):
        def takes(self, name):
            return name.startswith("resnet18")

        def make(self, name, output_stride, dilate):
            return timm.create_model("test_resnet", num_classes=0)

    wide = entered("wide")(Wide())
    monkeypatch.setattr(backbones, "_entries", dict(reversed(list(backbones.items()))))  # whatever was imported first
    assert family_of("vit_tiny_patch16_224") is backbones["transformer"]
    assert family_of("resnet18.wide") is family_of("resnet18") is wide
    assert family_of("resnet50") is backbones["convolutional"]
    assert make("resnet18").channels == 96


def test_making_one_draws_the_same_weights_from_the_same_seed():
    one, other = make(), make()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_classifier(name):
    torch.manual_seed(0)
    classifier = Classifier(make(name), 4, {"fc2": {}}).eval()
    images = torch.randn(2, 3, 64, 64)
    logits = classifier(images)
    assert logits.shape == (2, 4)
    # eq. 4: the mean of the class maps of eq. 2 over positions
    maps = torch.einsum("kd,bdhw->bkhw", classifier.weight_1, classifier.backbone(images))
    torch.testing.assert_close(logits, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert classifier.weight_2.shape == (4, classifier.backbone.channels)
    assert not torch.equal(classifier.weight_1, classifier.weight_2)


def test_what_a_classifier_does_not_have():
    with pytest.raises(RecipeError, match="was not re-activated"):
        _ = Classifier(make(), 4).weight_2
    with pytest.raises(RecipeError, match="at least one class, got 0"):
        Classifier(make(), 0)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])  # a chain of units, and none
def test_recomputed_activations_change_no_gradient(name):
    backbone = make(name, freeze_until=1).train()
    gradients, runs = [], []
    block = backbone.net.get_submodule("layer3.0" if name == "test_resnet" else "blocks.1")
    block.register_forward_pre_hook(lambda module, inputs: runs.append(len(gradients)))
    for enabled in (False, True):
        backbone.recompute(enabled)
        backbone.zero_grad()
        backbone(images()).square().mean().backward()
        gradients.append([p.grad.clone() for p in backbone.parameters() if p.grad is not None])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, kept)
    assert runs.count(0) == 1
    assert runs.count(1) == 2, "the second time it runs again in the backward pass"
