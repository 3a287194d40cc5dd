"""Batches follow from (seed, epoch, index) alone: not from workers, interruptions or the number of processes."""

import os
import signal
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from recam.errors import DataError, StoreError
from recam.training.augment import Augment
from recam.training.loader import EpochBatches, LabelledImages, MaskedImages, make_loader, read_batches, workers_watched
from recam.types import Sample

AUGMENT = Augment(8, (0.5,) * 3, (0.5,) * 3, scale=(0.5, 1.5))


@dataclass(frozen=True)
class Picture:
    """An image of one grey, or a mask of one value."""

    value: int
    depth: tuple[int, ...] = (3,)
    where: str = "memory"

    def read(self):
        return np.full((10, 12, *self.depth), self.value, np.uint8)

    def fingerprint(self, digest):
        return str(self.value)


def read_mask(sample):
    return sample.mask.read()


def make_samples(n):
    return [Sample(f"s{i}", (i % 3,) if i % 4 else (0, 2), Picture(10 * i), Picture(i % 4, ())) for i in range(n)]


def batches(n=10, batch=4, epochs=3, seed=0, **more):
    return list(EpochBatches(n=n, batch=batch, epochs=epochs, seed=seed, **more))


@pytest.mark.parametrize(("n", "batch"), [(1, 4), (3, 4), (4, 4), (10, 4), (13, 4), (5, 1), (2, 16)])
def test_an_epoch_shows_each_sample_once_in_batches_of_nearly_equal_size(n, batch):
    steps = -(-n // batch)
    found = batches(n, batch, epochs=2)
    assert len(found) == 2 * steps == len(EpochBatches(n=n, batch=batch, epochs=2, seed=0))
    for epoch in range(2):
        of_epoch = found[epoch * steps : (epoch + 1) * steps]
        assert sorted(index for each in of_epoch for _, index in each) == list(range(n))
        assert {e for each in of_epoch for e, _ in each} == {epoch}
        sizes = {len(each) for each in of_epoch}
        assert max(sizes) <= batch
        assert max(sizes) - min(sizes) <= 1


def test_order_depends_on_seed_and_epoch():
    assert batches() == batches()
    assert batches(seed=1) != batches()
    first, second = batches(n=30, batch=30, epochs=2)
    assert [index for _, index in first] != [index for _, index in second]


@pytest.mark.parametrize("start", range(10))
def test_a_restart_at_any_step_gives_the_batches_that_were_left(start):
    every = batches()
    rest = EpochBatches(n=10, batch=4, epochs=3, seed=0, start=start)
    assert list(rest) == every[start:]
    assert len(rest) == len(every) - start


def test_ranks_share_each_batch():
    every = batches(n=13, batch=4)
    shares = [batches(n=13, batch=4, rank=rank, world=2) for rank in range(2)]
    for whole, *parts in zip(every, *shares, strict=True):
        assert sorted(position for part in parts for position in part) == sorted(whole)


def test_a_rank_without_an_image_repeats_one():
    """All processes must take part in each step."""
    shares = [batches(n=2, batch=2, epochs=1, rank=rank, world=3) for rank in range(3)]
    assert [len(share[0]) for share in shares] == [1, 1, 1]
    assert shares[2][0][0] in (shares[0][0][0], shares[1][0][0])


def collect(dataset, workers, **more):
    loader = make_loader(dataset, EpochBatches(n=len(dataset), batch=3, epochs=2, seed=5, **more), workers, pin=False)
    return list(read_batches(loader))


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("masked", [False, True])
def test_batches_do_not_depend_on_workers(masked):
    samples = make_samples(7)
    dataset = (
        MaskedImages(samples, read_mask, AUGMENT, seed=1) if masked else LabelledImages(samples, AUGMENT, 3, seed=1)
    )
    alone, helped, late = collect(dataset, 0), collect(dataset, 2), collect(dataset, 0, start=4)
    assert len(alone) == len(helped) == 6
    assert all(equal(one, other) for one, other in zip(alone, helped, strict=True))
    assert all(equal(one, other) for one, other in zip(alone[4:], late, strict=True))
    assert not torch.equal(alone[0]["images"], alone[3]["images"])


def test_loading_does_not_move_the_random_generator_that_networks_draw_from():
    """A resumed training begins a new pass over its loader; its dropout must go on as if nothing had happened."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    collect(LabelledImages(make_samples(3), AUGMENT, 3, seed=1), 0)
    assert torch.equal(torch.rand(3), expected)


def test_labels_and_shapes():
    dataset = LabelledImages(make_samples(5), AUGMENT, 3, seed=1)
    assert dataset[0, 0]["labels"].tolist() == [1, 0, 1]
    assert dataset[0, 1]["labels"].tolist() == [0, 1, 0]
    (first, _) = collect(dataset, 0)[:2]
    assert first["images"].shape == (3, 3, 8, 8)
    assert first["images"].dtype == first["labels"].dtype == torch.float32
    masked = MaskedImages(make_samples(5), read_mask, AUGMENT, seed=1)[0, 3]
    assert masked["masks"].dtype == torch.int64
    assert set(masked["masks"].unique().tolist()) <= {3, 255}


def test_augmentation_depends_on_seed_epoch_and_sample():
    """A picture whose left half is dark shows where it was cut."""

    @dataclass(frozen=True)
    class Halves(Picture):
        def read(self):
            image = np.zeros((40, 40, 3), np.uint8)
            image[:, 20:] = 255
            return image

    samples = [Sample(f"s{i}", (0,), Halves(0)) for i in range(8)]
    dataset = LabelledImages(samples, replace(AUGMENT, scale=(0.5, 2.0)), 1, seed=1)
    again = LabelledImages(samples, dataset.augment, 1, seed=1)
    other = LabelledImages(samples, dataset.augment, 1, seed=2)
    assert all(equal(dataset[0, i], again[0, i]) for i in range(8))
    assert any(not equal(dataset[0, i], dataset[1, i]) for i in range(8))
    assert any(not equal(dataset[0, i], other[0, i]) for i in range(8))
    assert any(not equal(dataset[0, 0], dataset[0, i]) for i in range(1, 8))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_are_chosen_by_the_cores(monkeypatch):
    dataset = LabelledImages(make_samples(2), AUGMENT, 3, seed=1)
    order = EpochBatches(n=2, batch=2, epochs=1, seed=0)
    for cores, workers in ((1, 0), (2, 0), (4, 3), (64, 8), (None, 0)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert make_loader(dataset, order, -1, pin=False).num_workers == workers
    assert make_loader(dataset, order, 0, pin=False).num_workers == 0


def test_saliency_comes_with_its_image():
    def half(sample):
        return np.repeat([[0.0, 1.0]], 10, 0).repeat(6, 1).astype(np.float32)  # (10, 12)

    augment = replace(AUGMENT, crop=40)
    plain = LabelledImages(make_samples(3), augment, 3, seed=1)
    dataset = replace(plain, read_saliency=half)
    for position in ((0, 1), (2, 2)):
        batch = dataset[position]
        assert torch.equal(batch["images"], plain[position]["images"])
        assert batch["saliency"].shape == (1, 40, 40)
        outside = (batch["images"] == 0).all(0, keepdim=True)
        assert (batch["saliency"][outside] == 0).all()
        assert 0.3 < float(batch["saliency"][~outside].mean()) < 0.7
    assert "saliency" not in plain[0, 0]


@dataclass(frozen=True)
class Damaged:
    """A data set of which one image cannot be read, or in which a worker is killed."""

    kills: bool

    def __len__(self):
        return 4

    def __getitem__(self, position):
        if position[1] == 2:
            if self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("photos/c.jpg is not there. Put it back.")
        return {"x": torch.zeros(1)}


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_without_a_traceback(workers):
    with pytest.raises(DataError) as raised:
        collect(Damaged(kills=False), workers)
    assert str(raised.value) == "photos/c.jpg is not there. Put it back."


def read_all(dataset):
    with workers_watched("classify"):
        collect(dataset, 1)


def test_a_worker_that_is_ended_from_outside_is_reported_with_a_way_out():
    with pytest.raises(
        StoreError,
        match=r"classify: a process that decodes images was ended from outside.*compute\.workers to fewer, or to 0",
    ):
        read_all(Damaged(kills=True))


def test_other_errors_are_not_taken_for_a_worker_that_ended():
    with pytest.raises(RuntimeError, match="something else"), workers_watched("classify"):
        raise RuntimeError("something else")
