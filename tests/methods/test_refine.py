"""Refiners on plain tensors: backgrounds in and out by hand, each refiner on maps, and chains of them."""

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.labels import IGNORE
from recam.methods import advcam, crf, edam, irn, pamr
from recam.methods.refine import EVEN, join, one_plane_a_class, with_background, without_background
from recam.types import SeedMaps

IMAGE = np.zeros((16, 24, 3), np.uint8)
IMAGE[:, 12:] = 200  # two halves


def seed(maps, size=(16, 24), indices=None):
    maps = np.asarray(maps, np.float32)
    return SeedMaps(maps, np.asarray(range(len(maps)) if indices is None else indices, np.int64), size)


def blob(n=2):
    """Strided maps (n, 4, 6): class i in the i-th half, high in its middle, low elsewhere."""
    maps = np.full((n, 4, 6), 0.1, np.float32)
    for index in range(n):
        maps[index, 1:3, 3 * index : 3 * index + 2] = 0.9
    return seed(maps, indices=[2, 5][:n])


def test_a_background_goes_in_and_out():
    maps = np.array([[[0.6, 0.1, 0.0]], [[0.3, 0.1, 0.0]]], np.float32)
    planes = with_background(maps, 0.3)
    np.testing.assert_allclose(planes[:, 0, 0], [0.25, 0.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(planes.sum(0), 1, rtol=1e-6)
    back = without_background(planes)
    np.testing.assert_allclose(back[:, 0, 0], [2 / 3, 0.5], rtol=1e-6)
    # Above 0.5 just where a map exceeds the threshold.
    np.testing.assert_array_equal(back > EVEN + 1e-6, maps > 0.3 + 1e-6)


def test_nothing_speaks_for_a_class_where_all_is_zero():
    planes = with_background(np.zeros((2, 1, 1), np.float32), 0.0)
    np.testing.assert_array_equal(planes[:, 0, 0], [1, 0, 0])
    np.testing.assert_array_equal(without_background(planes), 0)


def test_planes_of_labels():
    np.testing.assert_array_equal(one_plane_a_class(np.array([[0, 2, 1]]), 2), [[[0, 0, 1]], [[0, 1, 0]]])


def test_pamr_moves_maps_to_the_edges_of_the_image():
    # A map that leaks over the edge at column 12 from the left half: refined, the right half loses it.
    maps = np.zeros((1, 16, 24), np.float32)
    maps[:, :, :15] = 0.9
    refined = pamr.PamrRefiner(0.3, pamr.PamrSettings(iterations=10, dilations=(1, 2, 4)))(IMAGE, seed(maps))
    assert refined.maps.shape == (1, 16, 24)
    assert (refined.maps[0, 4:12, 6:10] > EVEN).all()
    assert (refined.maps[0, 4:12, 16:] < EVEN).all()


def test_irn_walks_within_edges_and_fills_a_region():
    edges = torch.zeros(1, 4, 6)
    edges[:, :, 3] = 1.0
    refiner = irn.IrnRefiner(lambda image: edges, irn.IrnSettings(walk_radius=3, steps=64))
    refined = refiner(IMAGE, seed([[[0, 0, 0, 0, 0, 0]] * 4]))
    assert refined.maps.max() == 0  # a map of nothing stays one
    start = np.zeros((1, 4, 6), np.float32)
    start[0, 0, 0] = 1
    refined = refiner(IMAGE, seed(start, indices=[7]))
    assert refined.maps.shape == (1, 4, 6)
    assert refined.maps.max() == pytest.approx(1)
    assert (refined.maps[0, :, :3] > 0.5).all()
    assert (refined.maps[0, :, 3:] < 1e-3).all()
    np.testing.assert_array_equal(refined.class_indices, [7])


def test_irn_walks_at_the_size_of_the_edges_and_sharpens_by_its_power():
    maps = blob()
    coarse = irn.IrnRefiner(lambda image: torch.zeros(1, 2, 3), irn.IrnSettings(walk_radius=2, steps=0))(IMAGE, maps)
    assert coarse.maps.shape == maps.maps.shape
    plain, sharp = (
        irn.IrnRefiner(lambda image: torch.zeros(1, 4, 6), irn.IrnSettings(steps=0), power)(IMAGE, maps)
        for power in (1, 2)
    )
    low = np.unravel_index(plain.maps[0].argmin(), plain.maps[0].shape)
    assert sharp.maps[0][low] < plain.maps[0][low]


def test_advcam_takes_the_classes_and_nothing_else_of_what_comes_in():
    net = torch.nn.Conv2d(3, 4, 3, stride=4, padding=1)
    net.requires_grad_(False)
    weight = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))

    def pairs_of(image):
        view = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        return [torch.stack([view, view.flip(-1)])]

    settings = advcam.AdvCamSettings(steps=2)
    refiner = advcam.AdvCamRefiner(net, pairs_of, (1.0,), weight, settings)
    refined = refiner(IMAGE, blob())
    expected = advcam.make_advcams(net, pairs_of(IMAGE), (1.0,), weight, [2, 5], (16, 24), settings=settings)
    np.testing.assert_allclose(refined.maps, expected.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(refined.class_indices, [2, 5])


def test_edam_gives_maps_of_a_mask_and_leaves_pixels_open():
    maps = np.zeros((2, 1, 3), np.float32)
    maps[1, 0, 0] = 0.4
    given = np.array([[1.0, 1.0, 0.0]])
    refiner = edam.EdamRefiner(lambda image: given, edam.EdamSettings(ignore_below=0.2))
    refined = refiner(IMAGE[:1, :3], seed(maps, (1, 3), [2, 5]))
    np.testing.assert_array_equal(refined.maps, [[[0, 0, 0]], [[1, 0, 0]]])
    np.testing.assert_array_equal(refined.ignore, [[False, True, False]])
    assert edam.edam_mask(maps, [2, 5], given, refiner.settings)[0, 1] == IGNORE


@pytest.mark.parametrize("on", ["labels", "probabilities"])
def test_crf_moves_maps_to_the_edges_of_the_image(on):
    pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
    maps = np.zeros((1, 16, 24), np.float32)
    maps[:, :, :15] = 0.9
    refined = crf.CrfRefiner(0.3, on)(IMAGE, seed(maps, indices=[3]))
    assert refined.maps.shape == (1, 16, 24)
    assert (refined.maps[0, 4:12, 6:10] > EVEN).all()
    assert (refined.maps[0, 4:12, 16:] < EVEN).all()


def test_a_chain_is_one_after_the_other():
    first = irn.IrnRefiner(lambda image: torch.zeros(1, 4, 6), irn.IrnSettings(steps=2))
    second = pamr.PamrRefiner(0.3, pamr.PamrSettings(iterations=1, dilations=(1,)))
    both = join([first, second])(IMAGE, blob())
    np.testing.assert_array_equal(both.maps, second(IMAGE, first(IMAGE, blob())).maps)


@pytest.mark.parametrize(
    "refiner",
    [
        pamr.PamrRefiner(),
        crf.CrfRefiner(),
        irn.IrnRefiner(lambda image: torch.zeros(1, 4, 6)),
        edam.EdamRefiner(lambda image: np.zeros((16, 24))),
    ],
)
def test_an_image_without_labels_gets_no_maps(refiner):
    refined = refiner(IMAGE, seed(np.zeros((0, 4, 6))))
    assert len(refined.maps) == 0
    assert refined.size == (16, 24)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(RecipeError, match="PAMR: threshold must be in"):
        pamr.PamrRefiner(1.5)
    with pytest.raises(RecipeError, match="dense CRF: threshold must be in"):
        crf.CrfRefiner(-0.1)
    with pytest.raises(DataError, match="make it for the same images"):
        edam.EdamRefiner(lambda image: np.zeros((4, 4)))(IMAGE, blob())


def test_without_a_background_maps_are_weighed_against_each_other():
    maps = np.array([[[0.2, 0.0]], [[0.6, 0.0]]], np.float32)
    planes = with_background(maps, None)
    assert np.allclose(planes, [[[0.25, 0.5]], [[0.75, 0.5]]])
    assert np.array_equal(one_plane_a_class(np.array([[0, 1, 1]]), 2, 0), [[[1, 0, 0]], [[0, 1, 1]]])


@pytest.mark.parametrize("kind", ["pamr", "labels", "probabilities"])
def test_refiners_without_a_background_follow_the_image(kind):
    """Two classes that meet three columns beside the edge of the image come to meet at it; one class is everywhere."""
    if kind != "pamr":
        pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
    refiner = pamr.PamrRefiner(None) if kind == "pamr" else crf.CrfRefiner(None, kind)
    maps = np.full((2, 16, 24), 0.3, np.float32)
    maps[0, :, :15] = maps[1, :, 15:] = 0.7
    made = refiner(IMAGE, seed(maps, indices=[2, 5]))
    mask = made.maps.argmax(0)
    assert (mask[:, :11] == 0).all()
    assert (mask[:, 16:] == 1).all()
    assert (mask[:, 12:15] == 1).mean() > 0.5
    alone = refiner(IMAGE, seed(maps[:1]))
    assert alone.maps.argmax(0).max() == 0
    assert alone.maps.min() > 0
