"""A checkpoint holds the whole state of a training, and no pickle."""

import pickletools

import pytest
import torch
from safetensors import safe_open
from torch import nn

from recam.errors import StoreError
from recam.training.checkpoint import load_checkpoint, save_checkpoint


def make_training(momentum=0.9, width=3):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)


def train(model, optimizer, steps):
    torch.manual_seed(7)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.rand(6, 4)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_goes_on_as_if_nothing_had_happened(tmp_path, momentum):
    model, optimizer = make_training(momentum)
    train(model, optimizer, 3)
    save_checkpoint(tmp_path / "c.safetensors", model, optimizer, {"step": 3, "history": [{"loss": 0.5}]})
    train(model, optimizer, 2)
    again, restored = make_training(momentum)
    torch.manual_seed(99)
    assert load_checkpoint(tmp_path / "c.safetensors", again, restored) == ({"step": 3, "history": [{"loss": 0.5}]}, {})
    train(again, restored, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_no_pickle_is_written(tmp_path):
    model, optimizer = make_training()
    train(model, optimizer, 1)
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, model, optimizer, {"step": 1})
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
    assert {"model.0.weight", "model.1.running_mean", "optimizer.0.momentum_buffer"} <= names
    with pytest.raises(ValueError, match="opcode"):
        list(pickletools.genops(path.read_bytes()))
    # 2 × (15 + 4 + 9 numbers); a header of names.
    assert path.stat().st_size < 3_000


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    model, optimizer = make_training(width=3)
    save_checkpoint(tmp_path / "c.safetensors", model, optimizer, {"step": 1})
    with pytest.raises(StoreError, match=r"(?s)c\.safetensors does not fit the model .*Delete it"):
        load_checkpoint(tmp_path / "c.safetensors", *make_training(width=5))


@pytest.mark.parametrize("content", [b"", b"no tensors here", b"cut"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    model, optimizer = make_training()
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, model, optimizer, {"step": 1})
    path.write_bytes(path.read_bytes()[:-100] if content == b"cut" else content)
    with pytest.raises(StoreError, match=r"c\.safetensors cannot be read .*Delete it; the same command makes it again"):
        load_checkpoint(path, *make_training())
