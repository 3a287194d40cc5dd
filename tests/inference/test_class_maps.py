"""Class maps of an image: shapes, mirror, weightings, and what storing costs in quality."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import recam
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.inference.class_maps import make_class_maps
from recam.labels import mask_value
from recam.methods.cam import normalise, read_full, strided_size
from recam.models.backbones import Backbone
from recam.models.classifier import Classifier
from recam.runfolder.maps import read_seed, save_seed
from recam.types import SeedMaps

WEIGHTINGS = ("w", "w_prime", "add", "mul")


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return Classifier(Backbone("resnet18", "none"), 5, {"fc2": {}}).eval()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)


def test_shapes_and_range(classifier, image):
    made = make_class_maps(classifier, image, (1, 3, 4), WEIGHTINGS, (1.0, 0.5), True)
    assert tuple(made) == WEIGHTINGS
    for seed in made.values():
        assert seed.maps.shape == (3, 12, 18)  # ⌈45 / 4⌉ × ⌈70 / 4⌉
        assert seed.maps.dtype == np.float32
        assert seed.class_indices.tolist() == [1, 3, 4]
        assert seed.size == (45, 70)
        assert 0 <= seed.maps.min() <= seed.maps.max() < 1
    assert any(seed.maps.max() > 0.99 for seed in made.values())


def test_an_image_without_labels_has_no_maps_and_costs_nothing(image):
    made = make_class_maps(None, image, (), ("w", "mul"), (1.0,), True)  # the network is not asked
    assert [seed.maps.shape for seed in made.values()] == [(0, 12, 18)] * 2


def test_one_pass_gives_what_each_weighting_gives_alone(classifier, image):
    together = make_class_maps(classifier, image, (0, 2), WEIGHTINGS, (1.0,), False)
    for weighting in WEIGHTINGS:
        alone = make_class_maps(classifier, image, (0, 2), (weighting,), (1.0,), False)[weighting]
        assert np.array_equal(alone.maps, together[weighting].maps)
    assert not np.array_equal(together["w"].maps, together["w_prime"].maps)


def test_the_mirror_image_has_the_mirror_maps(classifier):
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    straight = make_class_maps(classifier, image, (0, 1), ("w_prime",), (1.0,), True)["w_prime"].maps
    mirrored = make_class_maps(classifier, image[:, ::-1], (0, 1), ("w_prime",), (1.0,), True)["w_prime"].maps
    np.testing.assert_allclose(mirrored[:, :, ::-1], straight, atol=1e-4)


def plausible_maps(sample, generator, noise=0.3):
    """Maps as a trained classifier gives them: the truth seen at stride 16, blurred, with false alarms."""
    mask = torch.from_numpy(sample.mask.read())
    planes = torch.stack([(mask == mask_value(label)).float() for label in sample.labels])
    coarse = F.adaptive_avg_pool2d(planes[None], (mask.shape[0] // 16, mask.shape[1] // 16))
    coarse = coarse + noise * torch.rand(coarse.shape, generator=generator)
    return normalise(
        F.interpolate(coarse, strided_size(tuple(mask.shape)), mode="bilinear", align_corners=False)[0]
    ).numpy()


@pytest.mark.parametrize("bits", [8, 16])
def test_storing_costs_less_than_a_twentieth_of_a_point(tmp_path, bits):
    catalog = recam.open_catalog("scenes:", size=112, train=24, val=0, seed=6)
    generator = torch.Generator().manual_seed(0)
    exact, stored = (ThresholdSweep(len(catalog.classes)) for _ in range(2))
    for sample in catalog.samples("train"):
        truth = sample.mask.read()
        seed = SeedMaps(plausible_maps(sample, generator), np.asarray(sample.labels), truth.shape)
        save_seed(tmp_path / f"{sample.id}.npz", seed, bits)
        exact.update(read_full(seed), sample.labels, truth)
        stored.update(read_full(read_seed(tmp_path / f"{sample.id}.npz")), sample.labels, truth)
    assert exact.best().miou > 0.3, "maps that find nothing would prove nothing"
    assert abs(stored.best().miou - exact.best().miou) < 0.0005


def test_a_network_s_maps_take_at_most_20_kb_an_image_and_class(classifier, tmp_path):
    """The worst that a network can give: untrained, on noise, so that no two positions agree."""
    noise = np.random.default_rng(2).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    seed = make_class_maps(classifier, noise, (0, 1, 2), ("add",), (1.0,), True)["add"]
    save_seed(tmp_path / "a.npz", seed)
    assert (tmp_path / "a.npz").stat().st_size <= 3 * 20_000
