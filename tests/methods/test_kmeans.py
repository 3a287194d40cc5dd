import pytest
import torch

from recam.errors import DataError
from recam.methods.kmeans import kmeans

PAIRS = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0], [0.0, 100.0]])


def test_clusters_that_lie_apart_are_found_with_their_means():
    found = kmeans(PAIRS, 3, seed=1)
    first, _, third, _, last = found.assignment.tolist()
    assert found.assignment.tolist() == [first, first, third, third, last]
    assert {first, third, last} == {0, 1, 2}
    assert found.centers[[first, third, last]].tolist() == [[0, 1], [10, 1], [0, 100]]
    assert found.inertia == pytest.approx(4.0)


def test_cosine_looks_at_directions_alone():
    rays = torch.tensor([[1.0, 0.0], [100.0, 0.0], [0.0, 1.0], [0.0, 50.0]])
    found = kmeans(rays, 2, distance="cosine")
    a, b, c, d = found.assignment.tolist()
    assert (a, c) == (b, d)
    assert a != c
    assert found.centers[a].tolist() == [50.5, 0.0], "centres are plain means"
    assert found.inertia == pytest.approx(0.0, abs=1e-6)


def test_same_seed_same_clusters_and_fewer_points_than_centres():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(kmeans(points, 5, seed=3).centers, kmeans(points, 5, seed=3).centers)
    assert kmeans(points, 5, starts=4).inertia <= kmeans(points, 5).inertia
    assert sorted(kmeans(PAIRS[:2], 7).assignment.tolist()) == [0, 1]
    assert kmeans(torch.ones(4, 2), 2).inertia == 0, "points that are all alike"


def test_what_is_refused():
    with pytest.raises(DataError, match=r"points \(N, D\)"):
        kmeans(torch.zeros(0, 3), 2)
    with pytest.raises(DataError, match="NaN or inf"):
        kmeans(torch.tensor([[float("nan"), 0.0]]), 1)
