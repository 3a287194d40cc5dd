"""Cached features: small on disk, a view an epoch, and errors that name the file."""

import numpy as np
import pytest
import torch

from recam.errors import StoreError
from recam.training.cached_features import CachedFeatures, feature_path, save_features, save_view_saliency
from recam.types import Sample


def cache(folder, ids=("a", "sub/b"), views=3, **more):
    samples = [Sample(name, (i,), image=None) for i, name in enumerate(ids)]
    for i, sample in enumerate(samples):
        made = torch.stack([torch.full((2, 2, 2), 10 * i + view + 1 / 3) for view in range(views)])
        save_features(feature_path(folder, sample.id), made)
    return CachedFeatures(folder, samples, 2, **more)


def shown(dataset, epoch, index):
    return int(dataset[epoch, index]["features"][0, 0, 0])


def test_an_epoch_sees_one_view_the_next_epoch_the_next(tmp_path):
    dataset = cache(tmp_path)
    assert len(dataset) == 2
    assert [shown(dataset, epoch, 0) for epoch in range(4)] == [0, 1, 2, 0]
    assert [shown(dataset, epoch, 1) for epoch in range(4)] == [11, 12, 10, 11]
    later = cache(tmp_path, first_view=2)
    assert [shown(later, epoch, 0) for epoch in range(3)] == [2, 0, 1]


def test_what_comes_back(tmp_path):
    batch = cache(tmp_path)[0, 1]
    assert batch["features"].shape == (2, 2, 2)
    assert batch["features"].dtype == torch.float16
    assert batch["features"].flatten()[0] == torch.tensor(11 + 1 / 3, dtype=torch.float16)
    assert batch["labels"].tolist() == [0, 1]
    batch["features"].zero_()  # a copy: the file stays
    assert cache(tmp_path)[0, 1]["features"].all()


def test_files_are_float16_without_pickle(tmp_path):
    cache(tmp_path)
    stored = np.load(tmp_path / "sub" / "b.npy", allow_pickle=False)
    assert (stored.dtype, stored.shape) == (np.float16, (3, 2, 2, 2))


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04K\x01.", b"cut"])
def test_a_damaged_file_is_named(tmp_path, content):
    dataset = cache(tmp_path)
    path = tmp_path / "a.npy"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(whole[:-8] if content == b"cut" else content)
    with pytest.raises(StoreError, match=r"a\.npy cannot be read as features .*the same command makes it again"):
        dataset[0, 0]
    assert shown(dataset, 0, 1) == 11


def test_saliency_of_the_same_view(tmp_path):
    plain = cache(tmp_path / "features")
    for i, sample in enumerate(plain.samples):
        views = torch.zeros(3, 8, 8)
        views[:, ::4, ::4] = torch.tensor([10 * i, 10 * i + 1, 10 * i + 2]).view(3, 1, 1) / 255
        save_view_saliency(feature_path(tmp_path / "saliency", sample.id), views)
    dataset = cache(tmp_path / "features", saliency=tmp_path / "saliency")
    for epoch, index in ((0, 0), (1, 0), (2, 1)):
        batch = dataset[epoch, index]
        assert batch["saliency"].shape == (1, 2, 2)
        assert (batch["saliency"] * 255).round().unique().tolist() == [shown(dataset, epoch, index)]
    feature_path(tmp_path / "saliency", "a").unlink()
    with pytest.raises(StoreError, match=r"saliency.a\.npy cannot be read"):
        dataset[0, 0]
