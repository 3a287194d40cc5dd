import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recam.errors import RecipeError, WeightsError
from recam.methods import cam, recam
from recam.methods.recam import ReCamSettings, reactivation_loss

LABELS = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 1]])


def batch(images=3, classes=5, channels=7, size=(4, 6), dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(images, channels, *size, generator=generator, dtype=dtype).relu()
    weights = [torch.randn(classes, channels, generator=generator, dtype=dtype) for _ in range(2)]
    return [tensor.requires_grad_() for tensor in (features, *weights)]


def loss_pair_by_pair(features, weight_1, weight_2, labels, pooling, background_logit):
    """Equations 2 and 5–7 as they are printed, one image and class at a time."""
    total = 0
    for image, row in zip(features, labels, strict=True):
        positives = row.nonzero().flatten().tolist()
        for k in positives:
            positive = torch.einsum("d,dhw->hw", weight_1[k], image).relu()
            mask = positive / (positive.max() + 1e-5)
            masked = mask * image  # (D, h, w)
            single = masked.mean((1, 2)) if pooling == "gap" else masked.sum((1, 2)) / mask.sum().clamp_min(1e-5)
            scores = weight_2 @ single
            if background_logit:
                scores = torch.cat([scores, torch.zeros(1, dtype=scores.dtype)])
            total = total - scores.log_softmax(0)[k] / len(positives)
    return total / len(features)


@pytest.mark.parametrize("pooling", recam.POOLINGS)
@pytest.mark.parametrize("background_logit", [False, True])
def test_loss_and_gradients_equal_the_printed_equations(pooling, background_logit):
    tensors = batch(dtype=torch.float64)
    labels = LABELS.double()
    loss = reactivation_loss(*tensors, labels, 0.3, pooling=pooling, background_logit=background_logit)
    sce = loss_pair_by_pair(*tensors, labels, pooling, background_logit)
    bce = cam.bce_loss(cam.classify(*tensors[:2]), labels)

    torch.testing.assert_close(loss.sce, sce)
    torch.testing.assert_close(loss.bce, bce)
    torch.testing.assert_close(loss.total, bce + 0.3 * sce)
    for ours, printed in zip(
        torch.autograd.grad(loss.total, tensors), torch.autograd.grad(bce + 0.3 * sce, tensors), strict=True
    ):
        torch.testing.assert_close(ours, printed)


def test_gradcheck():
    features, *weights = batch(images=2, channels=3, size=(2, 3), dtype=torch.float64)
    tensors = [(features.detach() + 0.1).requires_grad_(), *weights]  # away from the kink of relu at all-zero positions
    assert torch.autograd.gradcheck(
        lambda *t: reactivation_loss(*t, LABELS[[0, 2]].double(), pooling="area").total, tensors
    )


def test_a_batch_by_hand():
    # One image, two positions, two classes; class 1 is present, its map is (0, 2) → mask (0, 1), so f_1 = (3, 2) / 2
    # with gap.
    features = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])
    weight_1, weight_2 = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    for pooling, scores in (("gap", (1.0, 3.0)), ("area", (2.0, 6.0))):
        loss = reactivation_loss(features, weight_1, weight_2, torch.tensor([[0.0, 1.0]]), pooling=pooling)
        assert loss.sce.item() == pytest.approx(math.log(1 + math.exp(scores[0] - scores[1])), rel=1e-4)
        assert loss.accuracy.item() == 1
        torch.testing.assert_close(loss.logits, torch.tensor([[2.0, 1.0]]))


def test_accuracy_counts_pairs():
    # FC2 always prefers class 1: right for one of three pairs.
    features = torch.ones(2, 1, 2, 2)
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 1]])
    loss = reactivation_loss(features, torch.ones(3, 1), torch.tensor([[0.0], [1.0], [0.0]]), labels)
    assert loss.accuracy.item() == pytest.approx(1 / 3)


def test_convolution_weights_give_the_same():
    features, weight_1, weight_2 = batch()
    flat = reactivation_loss(features, weight_1, weight_2, LABELS)
    convolution = reactivation_loss(features, weight_1[:, :, None, None], weight_2[:, :, None, None], LABELS)
    assert flat.total.item() == convolution.total.item()


def test_batch_without_labels_keeps_its_graph():
    tensors = batch()
    loss = reactivation_loss(*tensors, torch.zeros(3, 5))
    assert loss.sce.item() == 0
    assert loss.accuracy.isnan()
    loss.sce.backward()
    assert all(tensor.grad is not None and not tensor.grad.any() for tensor in tensors)


def test_detached_masks_do_not_learn_from_the_softmax_loss():
    features, weight_1, weight_2 = batch()
    free = reactivation_loss(features, weight_1, weight_2, LABELS)
    detached = reactivation_loss(features, weight_1, weight_2, LABELS, detach_masks=True)
    assert free.sce.item() == detached.sce.item()
    assert torch.autograd.grad(free.sce, weight_1, retain_graph=True)[0].any()
    assert torch.autograd.grad(detached.sce, weight_1, retain_graph=True, allow_unused=True)[0] is None
    assert torch.autograd.grad(detached.sce, features)[0].any()


def test_one_class_needs_a_background():
    tensors = batch(classes=1)
    labels = torch.tensor([[1.0], [0.0], [1.0]])
    with pytest.raises(RecipeError, match=r"softmax over one class is always 1.*set background_logit"):
        reactivation_loss(*tensors, labels)
    loss = reactivation_loss(*tensors, labels, background_logit=True)
    assert loss.sce.item() > 0
    assert torch.autograd.grad(loss.sce, tensors[2])[0].any()


def test_shapes_that_do_not_fit():
    features, weight_1, weight_2 = batch()
    with pytest.raises(WeightsError, match=r"labels \(3, 4\), FC1 \(5, 7\), FC2 \(5, 7\) do not fit"):
        reactivation_loss(features, weight_1, weight_2, LABELS[:, :4])
    with pytest.raises(WeightsError, match=r"FC2 \(4, 7\) do not fit"):
        reactivation_loss(features, weight_1, weight_2[:4], LABELS)


def test_positive_classes_are_padded():
    classes, present = recam.positive_classes(LABELS)
    assert present.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert classes[0, :2].tolist() == [0, 2]
    assert classes[2].tolist() == [1, 2, 4]


def test_settings_are_the_loss():
    tensors = batch()
    settings = ReCamSettings(sce_weight=0.5, pooling="area", detach_masks=True, background_logit=True)
    expected = reactivation_loss(*tensors, LABELS, 0.5, pooling="area", detach_masks=True, background_logit=True)
    assert settings.loss(*tensors, LABELS).total.item() == expected.total.item()
    assert ReCamSettings().loss(*tensors, LABELS).total.item() == reactivation_loss(*tensors, LABELS).total.item()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "gp"}, "unknown pooling 'gp'. Did you mean 'gap'?"),
        ({"sce_weight": -1.0}, "sce_weight must be a finite number ≥ 0, got -1.0"),
        ({"sce_weight": math.nan}, "got nan"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(RecipeError) as caught:
        ReCamSettings(**settings)
    assert message in str(caught.value)


def test_four_weightings():
    w, w_prime = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -4.0]])
    expected = {"w": [[1.0, 2.0]], "w_prime": [[3.0, -4.0]], "add": [[4.0, -2.0]], "mul": [[3.0, -8.0]]}
    assert set(expected) == set(recam.WEIGHTINGS)
    for weighting, values in expected.items():
        assert recam.combine_weights(w, w_prime[:, :, None, None], weighting).tolist() == values


def test_weightings_that_cannot_be():
    with pytest.raises(RecipeError, match=r"unknown weighting 'w_prim'. Did you mean 'w_prime'"):
        recam.combine_weights(torch.ones(2, 3), torch.ones(2, 3), "w_prim")
    with pytest.raises(WeightsError, match="must have one shape"):
        recam.combine_weights(torch.ones(2, 3), torch.ones(4, 3), "w")


def test_softmax_loss_by_hand():
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [5.0, 1.0, 2.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    norm = math.log(math.e + 1 + 1 / math.e)
    expected = ((norm - 1) / 2 + norm / 2 + math.log(3)) / 3
    loss = recam.sce_loss(logits, labels)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert not logits.grad[2].any()


def test_softmax_for_single_label_images_only():
    logits = torch.tensor([[1.0, 0.0], [2.0, -1.0], [0.5, 0.5]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    expected = [
        recam.sce_loss(logits[:1], labels[:1]),
        cam.bce_loss(logits[1:2], labels[1:2]),
        cam.bce_loss(logits[2:], labels[2:]),
    ]
    torch.testing.assert_close(recam.sce_single_loss(logits, labels), torch.stack(expected).mean())


@pytest.mark.parametrize("loss", [recam.sce_loss, recam.sce_single_loss])
def test_softmax_over_one_class_is_refused(loss):
    with pytest.raises(RecipeError, match="use the loss 'bce'"):
        loss(torch.ones(2, 1), torch.ones(2, 1))


class LargestTensor(TorchDispatchMode):
    """Watches every operation, backward ones too, for the largest tensor it makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # An expanded tensor costs what its storage costs.
        sizes = [
            leaf.untyped_storage().nbytes() // leaf.element_size()
            for leaf in tree_leaves(result)
            if isinstance(leaf, torch.Tensor)
        ]
        self.elements = max([self.elements, *sizes])
        return result


def test_watching_sees_the_tensor_that_must_not_be():
    features, masks = torch.ones(2, 8, 4, 4), torch.ones(2, 80, 4, 4)
    with LargestTensor() as largest:
        (features[:, None] * masks[:, :, None]).mean((3, 4))
    assert largest.elements == 2 * 80 * 8 * 4 * 4


@pytest.mark.parametrize("pooling", recam.POOLINGS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_at_80_classes_is_that_of_the_features(pooling, memory_format):
    features, weight_1, weight_2 = batch(images=4, classes=80, channels=128, size=(16, 16))
    features = features.detach().to(memory_format=memory_format).requires_grad_()
    labels = torch.zeros(4, 80)
    labels[0, [3, 5, 70]], labels[1, 7], labels[3, 60:72] = 1, 1, 1
    with LargestTensor() as largest:
        reactivation_loss(features, weight_1, weight_2, labels, pooling=pooling).total.backward()
    assert largest.elements <= features.numel()
    assert features.grad.any()
