"""Views without PyTorch give what PyTorch gives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recam.preprocess import resize_planes


@pytest.mark.parametrize("size", [(7, 5), (20, 31), (3, 2), (14, 5), (1, 1)])
def test_planes_are_resized_as_pytorch_does(size):
    planes = np.random.default_rng(0).random((3, 7, 5), np.float32)
    expected = F.interpolate(torch.from_numpy(planes)[None], size, mode="bilinear", align_corners=False)[0].numpy()
    np.testing.assert_allclose(resize_planes(planes, size), expected, atol=1e-5)


def test_between_two_pixels():
    """Doubling 0, 1 puts new centres at −0.25, 0.25, 0.75, 1.25 of the old ones."""
    assert resize_planes(np.array([[[0.0, 1.0]]], np.float32), (1, 4)).tolist() == [[[0.0, 0.25, 0.75, 1.0]]]
