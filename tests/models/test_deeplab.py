"""DeepLabV2: the sum of branches, the three sizes and their maximum, all on the same pixels; values by hand."""

import pytest
import torch
from torch import nn

from recam.models.deeplab import AtrousSum, DeepLabV2, sample_mask, strongest
from recam.models.segmenters import make_segmenter


def test_the_branches_are_added():
    aspp = AtrousSum(1, 1)
    for factor, branch in zip((1.0, 10.0, 100.0, 1000.0), aspp.branches, strict=True):
        nn.init.constant_(branch.weight, factor)
        nn.init.constant_(branch.bias, 0.5)
    point = torch.zeros(1, 1, 61, 61)
    point[..., 30, 30] = 1
    found = aspp(point)[0, 0].detach() - 4 * 0.5
    assert found[30, 30] == 1111  # the middle of every kernel
    for rate, factor in zip((6, 12, 18, 24), (1, 10, 100, 1000), strict=True):
        for row, column in ((0, rate), (-rate, 0), (rate, -rate)):
            assert found[30 + row, 30 + column] == factor
    assert found.sum() == 9 * 1111


def test_weights_start_small_and_biases_at_zero():
    torch.manual_seed(0)
    branches = AtrousSum(64, 8).branches
    assert [branch.dilation[0] for branch in branches] == [6, 12, 18, 24]
    for branch in branches:
        assert branch.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert abs(branch.weight.mean()) < 0.001
        assert not branch.bias.any()


def test_branches_look_as_far_in_pixels_at_every_output_stride():
    def rates(stride):
        return [branch.dilation[0] for branch in DeepLabV2(nn.Identity(), 4, 2, stride).aspp.branches]

    assert rates(8) == [6, 12, 18, 24]
    assert rates(16) == [3, 6, 9, 12]


def test_the_last_stages_of_resnet101_are_dilated_instead_of_strided():
    with torch.device("meta"):
        model = make_segmenter("deeplabv2", "resnet101", 20, "none").eval()
        features = model.encoder(torch.zeros(1, 3, 321, 321))[-1]
        pairs = model.training_pairs(torch.zeros(1, 3, 321, 321), torch.zeros(1, 321, 321, dtype=torch.long))
    assert features.shape == (1, 2048, 41, 41)
    kernels = [
        (name, m.dilation[0])
        for name, m in model.encoder.named_modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size[0] == 3
    ]
    assert {dilation for name, dilation in kernels if name.startswith("layer3")} == {2}
    assert {dilation for name, dilation in kernels if name.startswith("layer4")} == {4}
    assert {dilation for name, dilation in kernels if name.startswith(("layer1", "layer2"))} == {1}
    assert [logits.shape[-1] for logits, _ in pairs] == [41, 31, 21, 41]
    assert all(logits.shape[-2:] == masks.shape[-2:] for logits, masks in pairs)


class Grid(nn.Module):
    """Features are the image's first channel at every 8th pixel."""

    def forward(self, images):
        return [images[:, :1, ::8, ::8]]


def make_plain(multi_scale=True):
    model = DeepLabV2(Grid(), 1, 1, multi_scale=multi_scale)
    model.aspp = nn.Identity()
    return model


@pytest.mark.parametrize("size", [(33, 65), (40, 33), (64, 64)])
def test_logits_of_every_size_meet_the_mask_on_the_same_pixel(size):
    # Image and mask hold the same ramp: what is compared must be equal wherever the mask is not padding.
    ramp = torch.arange(size[1]).expand(1, *size)
    pairs = make_plain().training_pairs(ramp[:, None].expand(-1, 3, -1, -1).float(), ramp)
    assert len(pairs) == 4
    assert [round((logits.shape[-1] - 1) / (pairs[0][0].shape[-1] - 1), 2) for logits, _ in pairs] == [1, 0.75, 0.5, 1]
    for (logits, masks), share in zip(pairs, (1, 0.75, 0.5, 1), strict=True):
        inside = (
            torch.arange(masks.shape[-1]) * 8 / share <= size[1] - 33
        )  # away from the padding, which blurs into smaller images
        assert (masks == 255).any() == any(side % 32 != 1 for side in size)
        assert inside.any()
        torch.testing.assert_close(logits[:, 0, 0][:, inside].round().long(), masks[:, 0][:, inside])


def test_one_size_alone():
    pairs = make_plain(multi_scale=False).training_pairs(
        torch.ones(1, 3, 33, 33), torch.zeros(1, 33, 33, dtype=torch.long)
    )
    assert [tuple(logits.shape) for logits, _ in pairs] == [(1, 1, 5, 5)]


def test_the_maximum_over_sizes():
    fine = torch.tensor([[1.0, 2.0, 3.0]]).expand(1, 1, 3, 3)
    coarse = torch.tensor([[4.0, 0.0]]).expand(1, 1, 2, 2)  # laid corner on corner over three columns: 4, 2, 0
    found = strongest([fine, coarse])
    assert found[0, 0].tolist() == [[4.0, 2.0, 3.0]] * 3


def test_masks_are_read_at_grid_points():
    mask = torch.arange(9).expand(1, 9, 9)
    assert sample_mask(mask, (3, 5))[0].tolist() == [[0, 2, 4, 6, 8]] * 3
    assert sample_mask(mask, (9, 9)).equal(mask)


def test_frozen_batchnorm_neither_counts_nor_learns():
    torch.manual_seed(0)
    model = make_segmenter("deeplabv2", "tu-resnet18", 2, "none").train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    pairs = model.training_pairs(torch.rand(2, 3, 40, 33), torch.zeros(2, 40, 33, dtype=torch.long))
    sum(logits.square().mean() for logits, _ in pairs).backward()
    assert all(value.equal(before[name]) for name, value in model.named_buffers())
    fixed = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert fixed == {name for name, _ in model.named_parameters() if ".bn" in name or ".downsample.1." in name}
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    learning = make_segmenter("deeplabv2", "tu-resnet18", 2, "none", freeze_batchnorm=False).train()
    assert all(parameter.requires_grad for parameter in learning.parameters())
    assert all(module.training for module in learning.modules())
