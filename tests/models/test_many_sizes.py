"""On a GPU cuDNN works on common sizes alone; no GPU is needed to see which these are."""

from types import SimpleNamespace

import pytest
import torch

from recam.models import many_sizes
from recam.models.many_sizes import PLANNED_FROM, planned_if_common


def cudnn_for(*size: int, is_cuda: bool = True) -> bool:
    with planned_if_common(SimpleNamespace(is_cuda=is_cuda, shape=torch.Size(size))):
        return torch.backends.cudnn.enabled


@pytest.fixture(autouse=True)
def nothing_seen():
    many_sizes._seen.clear()
    assert torch.backends.cudnn.enabled
    yield
    assert torch.backends.cudnn.enabled


def test_a_size_is_planned_once_it_is_common():
    with torch.inference_mode():
        found = [cudnn_for(2, 3, 60, 40) for _ in range(PLANNED_FROM + 1)]
        assert found == [False] * (PLANNED_FROM - 1) + [True] * 2
        assert not cudnn_for(2, 3, 60, 41)
        assert cudnn_for(2, 3, 60, 40)


def test_training_and_cpus_are_left_alone():
    assert cudnn_for(2, 3, 60, 40)
    with torch.inference_mode():
        assert cudnn_for(2, 3, 60, 40, is_cuda=False)


def test_it_is_on_again_after_an_error():
    images = SimpleNamespace(is_cuda=True, shape=torch.Size((1, 3, 8, 8)))
    with torch.inference_mode(), pytest.raises(ValueError, match="out of memory"), planned_if_common(images):
        raise ValueError("out of memory")


def test_where_it_was_off_it_stays_off():
    torch.backends.cudnn.enabled = False
    try:
        with torch.inference_mode():
            assert not any(cudnn_for(2, 3, 60, 40) for _ in range(PLANNED_FROM + 1))
        assert not torch.backends.cudnn.enabled
    finally:
        torch.backends.cudnn.enabled = True
