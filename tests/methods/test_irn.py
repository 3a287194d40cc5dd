"""IRN by hand on tiny maps, and against dense references that follow the definition point by point."""

import math

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.labels import IGNORE
from recam.methods import irn, irn_paths, irn_walk
from recam.methods.irn import IrnSettings
from recam.methods.irn_paths import Offset


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def points_on_path(dy, dx):
    """By the distance of each point of the box to the line."""
    length = math.hypot(dy, dx)
    box = [(y, x) for y in range(dy + 1) for x in range(min(dx, 0), max(dx, 0) + 1)]
    return {(y, x) for y, x in box if abs(y * dx - x * dy) / length < 1 - 1e-12}


def dense_affinity(edge, radius):
    """(h·w, h·w) affinities of all pairs within the radius, 0 elsewhere and on the diagonal."""
    height, width = edge.shape
    values = edge.tolist()
    paths = {offset: points_on_path(*offset) for offset in irn_paths.pair_offsets(radius)}
    matrix = torch.zeros(height * width, height * width)
    for i in range(height * width):
        for j in range(i + 1, height * width):
            (y, x), (y2, x2) = divmod(i, width), divmod(j, width)
            if (y2 - y, x2 - x) in paths:
                matrix[i, j] = matrix[j, i] = 1 - max(values[y + dy][x + dx] for dy, dx in paths[y2 - y, x2 - x])
    return matrix


def test_offsets_by_hand():
    assert irn_paths.pair_offsets(2) == ((0, 1), (1, 0), (1, -1), (1, 1))
    assert len(irn_paths.pair_offsets(5)) == 34
    assert irn_paths.reach(5) == 4
    assert irn_paths.reach(4.5) == 4


def test_paths_by_hand():
    assert irn_paths.path(Offset(0, 3)) == {(0, 0), (0, 1), (0, 2), (0, 3)}
    # The corners beside a diagonal are 1/√2 away.
    assert irn_paths.path(Offset(1, -1)) == {(0, 0), (0, -1), (1, 0), (1, -1)}
    # (0, 2) and (1, 0) are 2/√5 away from the line through (1, 2); of the box's other corner the same.
    assert irn_paths.path(Offset(1, 2)) == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)}
    assert irn_paths.path(Offset(2, 2)) == {(0, 0), (1, 1), (2, 2), (0, 1), (1, 0), (1, 2), (2, 1)}


@pytest.mark.parametrize("radius", [3, 5, 7.5, 10])
def test_pieces_cover_exactly_the_path(radius):
    for offset, pieces in irn_paths.path_pieces(radius).items():
        covered = {(start.y + y, start.x + x) for part, start in pieces for y, x in irn_paths.path(part)}
        assert covered == irn_paths.path(offset) == points_on_path(*offset)


def test_affinities_by_hand():
    edges = torch.tensor([[[0.1, 0.5, 0.2], [0.0, 0.3, 0.9]]])
    found = irn_paths.affinities(edges, 3)
    torch.testing.assert_close(found[Offset(0, 1)], torch.tensor([[[0.5, 0.5], [0.7, 0.1]]]))
    torch.testing.assert_close(found[Offset(0, 2)], torch.tensor([[[0.5], [0.1]]]))
    torch.testing.assert_close(found[Offset(1, 0)], torch.tensor([[[0.9, 0.5, 0.1]]]))
    torch.testing.assert_close(found[Offset(1, -1)], torch.tensor([[[0.5, 0.1]]]))
    assert all(offset.y < 2 for offset in found)  # what does not fit on the map is not there


@pytest.mark.parametrize("radius", [2, 5, 10])
def test_affinities_are_those_of_the_definition(radius):
    edge = random(9, 11)
    reference = dense_affinity(edge, radius)
    total = 0
    for (y, x), found in irn_paths.affinities(edge[None], radius).items():
        rows, columns = torch.meshgrid(torch.arange(found.shape[1]), torch.arange(found.shape[2]), indexing="ij")
        first = rows * 11 + columns - min(x, 0)
        torch.testing.assert_close(found[0], reference[first, first + y * 11 + x])
        total += found.numel()
    assert total == (reference > 0).sum() / 2


def loss_by_definition(edge_logits, displacement, segmentation, radius):
    """The sums of the published definition, pair by pair."""
    r = math.ceil(radius) - 1
    edges = edge_logits.sigmoid()
    terms = {name: [] for name in ("bg", "fg", "neg", "dp_bg", "dp_fg")}
    for image in range(len(edges)):
        for y, x in np.ndindex(*segmentation.shape[1:]):
            if y >= segmentation.shape[1] - r or not r <= x < segmentation.shape[2] - r:
                continue
            for dy, dx in irn_paths.pair_offsets(radius):
                one, other = int(segmentation[image, y, x]), int(segmentation[image, y + dy, x + dx])
                if IGNORE in (one, other):
                    continue
                affinity = (
                    1 - torch.stack([edges[image, 0, y + py, x + px] for py, px in points_on_path(dy, dx)]).amax()
                )
                if one != other:
                    terms["neg"].append(-(1 + 1e-5 - affinity).log())
                    continue
                kind = "fg" if one else "bg"
                terms[kind].append(-(affinity + 1e-5).log())
                between = displacement[image, :, y, x] - displacement[image, :, y + dy, x + dx]
                terms[f"dp_{kind}"].append((between - torch.tensor([dy, dx]) * (kind == "fg")).abs().mean())
    means = {name: torch.stack(values).mean() for name, values in terms.items()}
    total = ((means["bg"] + means["fg"]) / 2 + means["neg"]) / 2 + (means["dp_fg"] + means["dp_bg"]) / 2
    return total, means, {name: len(values) for name, values in terms.items()}


@pytest.fixture
def batch():
    segmentation = torch.zeros(2, 6, 8, dtype=torch.uint8)
    segmentation[0, 2:6, 2:6] = 3
    segmentation[0, 4:, 4:] = 7
    segmentation[1, :, :4] = 1
    segmentation[1, 3] = IGNORE
    edge_logits = (3 * random(2, 1, 6, 8) - 1.5).requires_grad_()
    displacement = (4 * random(2, 2, 6, 8, seed=1) - 2).requires_grad_()
    return edge_logits, displacement, segmentation


def test_loss_and_gradients_are_those_of_the_definition(batch):
    edge_logits, displacement, segmentation = batch
    loss = irn.irn_loss(edge_logits, displacement, segmentation, 3)
    expected, means, numbers = loss_by_definition(edge_logits, displacement, segmentation, 3)
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.positive, (means["bg"] + means["fg"]) / 2)
    torch.testing.assert_close(loss.negative, means["neg"])
    torch.testing.assert_close(loss.displacement_foreground, means["dp_fg"])
    torch.testing.assert_close(loss.displacement_background, means["dp_bg"])
    assert (loss.n_background, loss.n_foreground, loss.n_negative) == (numbers["bg"], numbers["fg"], numbers["neg"])

    found = torch.autograd.grad(loss.total, batch[:2])
    for gradient, reference in zip(found, torch.autograd.grad(expected, batch[:2]), strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-6)


def test_loss_by_hand():
    # Radius 2 on 2×3: the one first point is (0, 1), with seconds right, below, below left and below right.
    edge_logits = torch.full((1, 1, 2, 3), -30.0)
    edge_logits[0, 0, 1, 1] = 0.0  # on every path but the one to the right: affinity 1/2
    segmentation = torch.tensor([[[0, 2, 2], [IGNORE, 2, 0]]], dtype=torch.uint8)
    loss = irn.irn_loss(edge_logits, None, segmentation, 2)
    assert (loss.n_background, loss.n_foreground, loss.n_negative) == (0, 2, 1)
    assert loss.positive.item() == pytest.approx((0 + math.log(2)) / 2 / 2, abs=1e-4)
    assert loss.negative.item() == pytest.approx(math.log(2), abs=1e-4)
    assert loss.total.item() == pytest.approx((loss.positive + loss.negative).item() / 2)
    assert loss.displacement_foreground is None


def test_a_batch_without_labelled_pixels_costs_nothing_and_keeps_its_graph(batch):
    edge_logits, displacement, segmentation = batch
    loss = irn.irn_loss(edge_logits, displacement, torch.full_like(segmentation, IGNORE), 3)
    loss.total.backward()
    assert loss.total == 0
    assert edge_logits.grad.abs().sum() == displacement.grad.abs().sum() == 0


def test_half_precision_logits(batch):
    edge_logits, displacement, segmentation = batch
    half = irn.irn_loss(edge_logits.bfloat16(), displacement.bfloat16(), segmentation, 3)
    assert half.total.dtype == torch.float32
    torch.testing.assert_close(
        half.total, irn.irn_loss(edge_logits, displacement, segmentation, 3).total, rtol=0.02, atol=0
    )


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_sums_over_pairs_stay_exact_under_mixed_precision(precision):
    edge_logits, displacement = torch.zeros(1, 1, 64, 64), torch.rand(1, 2, 64, 64)
    segmentation = torch.zeros(1, 64, 64)
    segmentation[:, 20:44, 20:44] = 3
    exact = irn.irn_loss(edge_logits, displacement, segmentation, 10)
    with torch.autocast("cpu", precision):
        mixed = irn.irn_loss(edge_logits, displacement, segmentation, 10)
    assert mixed.n_background > 65504, "more pairs than half precision can count"
    for name in ("total", "positive", "negative", "displacement_foreground", "displacement_background"):
        torch.testing.assert_close(getattr(mixed, name), getattr(exact, name), rtol=1e-6, atol=0)


def test_loss_tells_all_sizes_that_do_not_fit():
    with pytest.raises(DataError, match=r"edge logits are \(B, 1, h, w\), got \(2, 7, 9\)"):
        irn.irn_loss(torch.zeros(2, 7, 9), None, torch.zeros(2, 7, 9))
    with pytest.raises(DataError) as error:
        irn.irn_loss(torch.zeros(2, 1, 9, 18), torch.zeros(2, 1, 9, 18), torch.zeros(2, 36, 72), 10)
    for part in (
        "segmentation (2, 36, 72) must be (2, 9, 18)",
        "displacement (2, 1, 9, 18) must be (2, 2, 9, 18)",
        "must be larger than (9, 18)",
    ):
        assert part in str(error.value)


def walk_by_definition(cams, edge, radius, beta, steps):
    matrix = dense_affinity(edge, radius) ** beta
    # 0⁰ = 1: pairs beyond the radius have no entry whatever the exponent.
    reachable = dense_affinity(torch.zeros_like(edge), radius) > 0
    matrix = matrix * reachable + torch.eye(len(matrix))
    matrix = (matrix / matrix.sum(0)).double()
    walked = (cams * (1 - edge)).flatten(1).double()
    return (walked @ torch.linalg.matrix_power(matrix, steps)).float().view(cams.shape)


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("shape", [(7, 9), (2, 3), (1, 6), (6, 1), (1, 1)])
def test_walk_is_that_of_the_dense_matrix(shape, steps):
    cams, edge = random(3, *shape), random(*shape, seed=1) ** 3
    expected = walk_by_definition(cams, edge, 5, 4, steps)
    torch.testing.assert_close(irn_walk.random_walk(cams, edge[None], 5, 4, steps), expected, rtol=1e-3, atol=1e-5)


def test_walk_without_affinities_to_speak_of_is_a_mean():
    cams, edge = random(2, 4, 3), random(4, 3, seed=1)
    torch.testing.assert_close(irn_walk.random_walk(cams, edge, 5, 0, 1), walk_by_definition(cams, edge, 5, 0, 1))


def test_walk_by_hand():
    # Two pixels with affinity 1/2 and exponent 1: each column is (1, 1/2) / 1.5.
    cams, edge = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.0, 0.5]])
    torch.testing.assert_close(irn_walk.random_walk(cams, edge, 2, 1, 1), torch.tensor([[[2 / 3, 1 / 3]]]))
    torch.testing.assert_close(irn_walk.random_walk(cams, edge, 2, 1, 2), torch.tensor([[[5 / 9, 4 / 9]]]))


def test_an_edge_stops_the_walk():
    cams, edge = torch.zeros(1, 8, 20), torch.zeros(8, 20)
    edge[:, 10] = 1
    cams[:, 2:6, 2:8] = 1
    walked = irn_walk.random_walk(cams, edge)
    assert walked[:, :, 11:].abs().max() == 0
    assert walked[:, :, :10].min() > 0


def test_walk_leaves_its_arguments_alone_and_takes_no_maps():
    cams, edge = random(2, 6, 5), torch.zeros(1, 6, 5)
    before = cams.clone()
    irn_walk.random_walk(cams, edge, steps=3)
    assert torch.equal(cams, before)
    assert irn_walk.random_walk(cams[:0], edge).shape == (0, 6, 5)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (torch.zeros(6, 6), r"edges \(6, 6\) do not fit class maps \(2, 6, 5\)"),
        (torch.zeros(2, 6, 5), r"edges \(2, 6, 5\) do not fit"),
        (torch.full((6, 5), -3.0), "if these are logits, pass their sigmoid"),
        (torch.full((6, 5), float("nan")), r"must be in \[0, 1\] and not NaN"),
    ],
)
def test_walk_refuses_edges_that_are_none(edges, message):
    with pytest.raises(DataError, match=message):
        irn_walk.random_walk(torch.zeros(2, 6, 5), edges)


def test_labels_by_hand():
    walked = torch.tensor([[[2.0]], [[0.5]]])  # classes 4 and 0 of a 3×4 image
    assert irn_walk.walk_to_labels(walked, (3, 4), [4, 0], 0.28).tolist() == [[5] * 4] * 3
    assert irn_walk.walk_to_labels(walked, (3, 4), [4, 0], 1.0).tolist() == [[0] * 4] * 3
    # The share is that of the maximum over all classes, not of each class.
    weak = torch.tensor([[[2.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.5]]])
    labels = irn_walk.walk_to_labels(weak, (4, 16), [4, 0], 0.28)
    assert labels[0, 0] == 5
    assert labels[0, 15] == 0
    assert irn_walk.walk_to_labels(weak, (4, 16), [4, 0], 0.2)[0, 15] == 1


def test_labels_of_maps_that_are_zero_or_none_are_background():
    assert not irn_walk.walk_to_labels(torch.zeros(2, 2, 2), (7, 8), [0, 1]).any()
    assert irn_walk.walk_to_labels(torch.zeros(0, 2, 2), (7, 8), []).shape == (7, 8)


def test_labels_refuse_an_image_larger_than_the_maps():
    with pytest.raises(DataError, match=r"cover \(8, 8\) pixels, less than the image's \(9, 8\)"):
        irn_walk.walk_to_labels(torch.zeros(1, 2, 2), (9, 8), [0])


def test_settings_are_the_functions_defaults(batch):
    edge_logits, displacement, segmentation = batch
    settings = IrnSettings(radius=3, background_threshold=0.4)
    assert settings.loss(edge_logits, displacement, segmentation).total == irn.irn_loss(*batch, radius=3).total
    cams, edge = random(2, 6, 5), random(6, 5, seed=1)
    walked = settings.walk(cams, edge)
    assert torch.equal(walked, irn_walk.random_walk(cams, edge))
    assert (settings.labels(walked, (22, 19), [1, 2]) == irn_walk.walk_to_labels(walked, (22, 19), [1, 2], 0.4)).all()


def test_settings_tell_all_that_makes_no_sense():
    with pytest.raises(RecipeError) as error:
        IrnSettings(radius=1, walk_radius=0, beta=-1, steps=-1, background_threshold=2)
    for part in (
        "radius=1: must be > 1",
        "walk_radius=0",
        "beta=-1",
        "steps=-1: must be ≥ 0",
        "background_threshold=2",
    ):
        assert part in str(error.value)
