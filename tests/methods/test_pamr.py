import re

import pytest
import torch
import torch.nn.functional as F

from recam.errors import DataError, RecipeError
from recam.methods import pamr
from recam.methods.pamr import PamrSettings


def random_batch(batch=2, classes=3, size=(9, 12), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, 3, *size, generator=generator, dtype=dtype)
    return images, torch.rand(batch, classes, *size, generator=generator, dtype=dtype)


def refined_as_printed(images, maps, settings):
    """The paper's equations with every neighbour gathered at once, by indices clamped to the image."""
    _, _, height, width = images.shape
    rows, columns = torch.arange(height), torch.arange(width)

    def gather(planes, down, right):
        return planes[:, :, (rows + down).clamp(0, height - 1)][:, :, :, (columns + right).clamp(0, width - 1)]

    square = [(d * y, d * x) for d in settings.dilations for y in (-1, 0, 1) for x in (-1, 0, 1)]
    ring = [offset for offset in square if offset != (0, 0)]
    deviation = torch.stack([gather(images, *offset) for offset in square]).std(0)
    contrast = torch.stack([(gather(images, *offset) - images).abs() for offset in ring])  # (N, B, 3, H, W)
    weights = (-contrast / (settings.contrast_scale * deviation + 1e-8)).mean(2).softmax(0)  # (N, B, H, W)
    for _ in range(settings.iterations):
        maps = (torch.stack([gather(maps, *offset) for offset in ring]) * weights[:, :, None]).sum(0)
    return maps


@pytest.mark.parametrize(
    "settings", [PamrSettings(), PamrSettings(iterations=2, dilations=(1,)), PamrSettings(3, (2, 5), 0.5)]
)
def test_equals_the_printed_equations(settings):
    images, maps = random_batch()
    torch.testing.assert_close(pamr.refine(images, maps, settings), refined_as_printed(images, maps, settings))


def test_weights_by_hand():
    """One row of three pixels, dilation 1: a pixel's samples are the row's three pixels, three times each."""
    images = torch.tensor([0.0, 0.0, 1.0]).expand(1, 3, 1, 3)
    settings = PamrSettings(iterations=1, dilations=(1,), contrast_scale=1.0)
    # The middle pixel: deviation of 0, 0, 1 three times each = √(2/8) = 0.5; 5 neighbours of its colour, 3 that differ
    # by 1.
    alike, other = 1.0, torch.exp(torch.tensor(-2.0)).item()
    total = 5 * alike + 3 * other
    weights = pamr.affinities(images, settings)
    assert weights.shape == (1, 8, 1, 3)
    expected = torch.tensor([alike, alike, other, alike, other, alike, alike, other]) / total
    torch.testing.assert_close(weights[0, :, 0, 1], expected)

    maps = torch.tensor([[[[1.0, 0.0, 0.0]], [[0.0, 0.0, 6.0]]]])
    refined = pamr.refine(images, maps, settings)
    torch.testing.assert_close(refined[0, :, 0, 1], torch.tensor([3 * alike / total, 6 * 3 * other / total]))


def test_constant_maps_stay():
    images, maps = random_batch()
    constant = maps[:, :, :1, :1].expand_as(maps)
    torch.testing.assert_close(pamr.refine(images, constant), constant)


def test_sums_over_classes_and_range_are_kept():
    images, maps = random_batch()
    maps = maps.softmax(1)
    refined = pamr.refine(images, maps)
    torch.testing.assert_close(refined.sum(1), torch.ones_like(refined[:, 0]))
    assert refined.min() >= maps.min()
    assert refined.max() <= maps.max()


def test_edges_of_a_two_colour_image_are_respected():
    images = torch.zeros(1, 3, 40, 60)
    images[..., 30:] = 1
    maps = torch.zeros(1, 2, 40, 60)
    maps[:, 0, :, :25], maps[:, 1, :, 25:] = 1, 1  # the border of the maps is five columns left of the edge
    classes = pamr.refine(images, maps).argmax(1)[0]
    assert (classes[:, :30] == 0).all()
    assert (classes[:, 30:] == 1).all()
    blurred = pamr.refine(torch.zeros_like(images), maps).argmax(1)[0]
    assert (blurred[:, 25:30] == 1).any(), "without an edge in the image nothing pulls the border there"


def test_scale_and_offset_of_colours_do_not_matter():
    images, maps = random_batch()
    shifted = images * torch.tensor([255.0, 3.0, 0.5])[:, None, None] - 7
    torch.testing.assert_close(pamr.refine(shifted, maps), pamr.refine(images, maps), rtol=1e-5, atol=1e-6)


def test_images_of_a_batch_do_not_mix():
    images, maps = random_batch()
    for index in range(2):
        torch.testing.assert_close(pamr.refine(images[[index]], maps[[index]])[0], pamr.refine(images, maps)[index])


def test_arguments_are_not_changed_and_types_are_kept():
    images, maps = random_batch(dtype=torch.float32)
    before = maps.clone()
    assert pamr.refine(images, maps.requires_grad_()).dtype == torch.float32
    assert not pamr.refine(images, maps).requires_grad
    assert torch.equal(maps, before)
    assert pamr.refine(images, maps.half()).dtype == torch.float16
    torch.testing.assert_close(pamr.refine(images.half(), before), pamr.refine(images.half().float(), before))


def test_larger_dilations_than_the_image_and_a_single_pixel():
    image, maps = torch.rand(1, 3, 1, 1), torch.rand(1, 2, 1, 1)
    torch.testing.assert_close(pamr.refine(image, maps), maps)


def test_what_does_not_fit():
    images, maps = random_batch()
    with pytest.raises(
        DataError, match=re.escape("got (2, 3, 9, 12) and (2, 3, 3, 4). Bring the maps to the size of their images")
    ):
        pamr.refine(images, F.avg_pool2d(maps, 3))
    with pytest.raises(DataError, match=re.escape("must be float, got torch.uint8 and torch.float64")):
        pamr.refine((images * 255).byte(), maps)
    with pytest.raises(
        RecipeError,
        match=re.escape("iterations must be at least 1, got 0; dilations must be one or more distances ≥ 1, got ()"),
    ):
        PamrSettings(iterations=0, dilations=())
    with pytest.raises(RecipeError, match="contrast_scale must be a finite number above 0, got 0"):
        PamrSettings(contrast_scale=0)
