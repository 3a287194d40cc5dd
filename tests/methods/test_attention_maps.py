"""Attention maps by hand, and attention read of timm's transformers against the formula."""

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods.attention_maps import (
    AttentionRefiner,
    AttentionSettings,
    class_attention,
    couple,
    patch_affinity,
    spread,
)
from recam.models.backbones import Backbone
from recam.models.backbones.attention import has_attention, read_attention
from recam.types import SeedMaps

THREE = torch.tensor([[[0.2, 0.5, 0.3], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6]]])  # a class token and two patches


def test_ts_cam_couples_attention_and_class_maps():
    attention = class_attention(THREE, 1, (1, 2))
    assert attention.tolist() == [[[0.5, pytest.approx(0.3)]]]
    maps = torch.tensor([[[[2.0, 10.0]], [[-1.0, 1.0]]]])
    torch.testing.assert_close(couple(attention, maps), torch.tensor([[[[1.0, 3.0]], [[-0.5, 0.3]]]]))
    # Without a class token: what all attend to.
    torch.testing.assert_close(class_attention(THREE, 0, (1, 3)), THREE.mean(1)[:, None])


def test_affinity_of_patches_has_rows_that_sum_to_one():
    found = patch_affinity(THREE, 1, (1, 2))
    torch.testing.assert_close(found, torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]))
    spreaded = spread(torch.tensor([[[1.0, 0.0]]]), found[0], 2)
    torch.testing.assert_close(spreaded, torch.tensor([[[0.375, 0.3125]]]))  # (0.5, 0.25), then
    even = patch_affinity(torch.tensor([[[0.9, 0.1], [0.5, 0.5]]]), 0, (1, 2), symmetric=True)[0]
    torch.testing.assert_close(even.sum(1), torch.ones(2))
    torch.testing.assert_close(even[0, 1], even[1, 0], rtol=0.1, atol=0)


def test_attention_that_does_not_fit():
    with pytest.raises(DataError, match=r"attention \(1, 3, 3\) is not that of 1 \+ 2×2 tokens"):
        patch_affinity(THREE, 1, (2, 2))
    with pytest.raises(RecipeError, match="layers must be ≥ 0, got -1"):
        AttentionSettings(layers=-1)


def test_attention_is_that_of_the_network():
    torch.manual_seed(0)
    backbone = Backbone("test_vit", "none").eval()
    images = torch.randn(2, 3, 32, 48)
    seen = {}
    layer = backbone.net.blocks[-1].attn
    hook = layer.register_forward_pre_hook(lambda module, inputs: seen.update(tokens=inputs[0]))
    features, attention, prefix = read_attention(backbone, images, last=1)
    hook.remove()
    assert prefix == 1
    torch.testing.assert_close(features, backbone(images), rtol=1e-4, atol=1e-5)  # a kernel of another order
    with torch.no_grad():
        q, k, _ = layer.qkv(seen["tokens"]).unflatten(2, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = layer.q_norm(q), layer.k_norm(k)
        by_hand = (q @ k.transpose(2, 3) * layer.scale).softmax(3).mean(1)
    torch.testing.assert_close(attention, by_hand)
    torch.testing.assert_close(read_attention(backbone, images)[1].sum(2), torch.ones(2, 7))
    assert layer.fused_attn, "the fast kernel is back"


@pytest.mark.parametrize(("name", "found"), [("test_vit3", True), ("test_resnet", False), ("test_maxvit", False)])
def test_whose_attention_can_be_read(name, found):
    stride = 32 if name == "test_maxvit" else 16
    backbone = Backbone(name, "none", stride)
    assert has_attention(backbone) == found
    if not found:
        with pytest.raises(RecipeError, match=rf"backbone '{name}' has no attention.*Choose a plain transformer"):
            read_attention(backbone, torch.zeros(1, 3, 32, 32))


def test_a_refiner_carries_a_map_to_where_its_patches_attend():
    affinity = torch.full((1, 4, 4), 0.01)
    affinity[0, :, 3] = 0.97  # all patches attend to the last
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 4:, 4:] = 1
    before = SeedMaps(maps, np.array([2]), (32, 32))
    refine = AttentionRefiner(lambda image, layers: (affinity, 0, (2, 2)), 0.3)
    after = refine(np.zeros((32, 32, 3), np.uint8), before)
    assert after.maps.shape == (1, 8, 8)
    assert after.maps.min() > 0.5
    assert before.maps[0, 0, 0] == 0
