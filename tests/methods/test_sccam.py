import pytest
import torch

from recam.errors import DataError
from recam.methods import sccam
from recam.methods.sccam import ABSENT, ScCamSettings
from recam.pipeline.training import make_training
from recam.pipeline.trainings.sccam import SubLabels
from recam.recipe.recipe import load_recipe
from recam.types import Sample

LABELS = torch.tensor([[1, 0], [1, 1], [1, 0], [1, 1], [0, 1], [0, 0]])
FEATURES = torch.tensor([[0.0], [0.1], [5], [5.1], [0.2], [7]])


def test_sub_classes_of_two_heaps():
    first, second = sccam.find_sub_classes(FEATURES, LABELS, 2).T.tolist()
    assert first[0] == first[1] != first[2] == first[3]
    assert second[1] == second[4] != second[3]
    assert [first[4], first[5], second[0], second[2], second[5]] == [ABSENT] * 5


def test_a_class_of_few_images_has_few_sub_classes():
    found = sccam.find_sub_classes(FEATURES, LABELS, 10)
    assert sorted(found[:, 1].tolist()) == [ABSENT] * 3 + [0, 1, 2]


def test_labels_of_sub_classes_by_hand():
    rows = sccam.sub_labels(torch.tensor([[2, ABSENT], [0, 1], [ABSENT, ABSENT]]), 3)
    assert rows.tolist() == [[0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0], [0] * 6]


def test_features_without_labels_are_refused():
    with pytest.raises(DataError, match="6 features for 5 rows"):
        sccam.find_sub_classes(FEATURES, LABELS[:5], 2)


def test_the_loss_of_sub_classes_is_weighed():
    torch.manual_seed(0)
    features, weights = torch.rand(2, 4, 3, 3), (torch.rand(2, 4), torch.rand(6, 4))
    labels, sub = torch.eye(2), torch.eye(2, 6)
    loss = sccam.sccam_loss(features, *weights, labels, sub, ScCamSettings(3, sub_weight=2))
    torch.testing.assert_close(loss.total, loss.classes + 2 * loss.sub_classes)


def test_maps_of_a_class_share_their_sub_classes_maximum():
    features = torch.tensor([[[[1.0, 0, 0]], [[0.0, 2, 0]]]])  # (1, D = 2, 1, 3)
    maps = sccam.sub_class_cams([features], torch.tensor([[9.0, 9], [9, 9], [1, 0], [0, 2]]), [1], 2, (1, 3))
    torch.testing.assert_close(maps, torch.tensor([[[0.25, 1, 0]]]), atol=1e-4, rtol=0)


def test_rounds_are_a_chain_whose_names_do_not_depend_on_the_last():
    chain = make_training(load_recipe("tiny", {"sccam.rounds": 3}), "sccam")
    names = []
    while chain:
        names.append(chain.name)
        first, chain = chain, chain.base
    assert names == ["sccam", "sccam-2", "sccam-1", "cam"]
    assert first.name == "cam"


def test_labels_of_a_sample_are_those_that_were_found():
    sample = Sample("a", (1,), None)
    found = {"a": torch.tensor([ABSENT, 2]).numpy()}
    assert SubLabels(found, 2, 3)(sample).tolist() == [0, 0, 0, 0, 0, 1]
    assert SubLabels(None, 2, 3)(sample).tolist() == [0, 0, 0, 1, 0, 0]
