import numpy as np
import torch

from recam.methods import psa
from recam.methods.irn_walk import walk_along


def near(case, key, value):
    case.matches(key, value, atol=1e-5 * max(np.abs(case[key]).max(), 1e-12))


def test_labels(golden):
    for case in golden("psa_labels"):
        means = [psa.block_means(case.tensor(name)) for name in ("la", "ha")]
        labels = psa.affinity_labels(*means)
        np.testing.assert_array_equal(labels.cpu().numpy(), case["label"])
        for name, kind in zip(
            ("bg_pos", "fg_pos", "neg"), psa.pair_kinds(labels[None], float(case["radius"])), strict=True
        ):
            np.testing.assert_array_equal(kind[0].cpu().numpy(), case[name].astype(bool), err_msg=name)


def test_labels_decided_at_every_pixel_are_those_of_its_block(golden):
    for case in golden("psa_labels"):
        means = [psa.moving_means(case.tensor(name)) for name in ("la", "ha")]
        labels = psa.affinity_labels(*means)[psa.STRIDE // 2 :: psa.STRIDE, psa.STRIDE // 2 :: psa.STRIDE]
        assert (labels.cpu().numpy() == case["label"]).mean() > 0.999


def test_affinity_loss_and_gradient(golden):
    for case in golden("psa_affinity"):
        features, radius = case.tensor("feature").requires_grad_(), float(case["radius"])
        near(case, "affinity", psa.pair_affinities(features, radius))
        loss = psa.psa_loss(features, case.tensor("label"), radius)
        loss.total.backward()
        for name, value in {
            "n_bg": loss.n_background, "n_fg": loss.n_foreground, "n_neg": loss.n_negative, "loss_bg": loss.background,
            "loss_fg": loss.foreground, "loss_neg": loss.negative, "loss_total": loss.total,
            "grad_feature": features.grad,
        }.items():  # fmt: skip
            near(case, name, value)


def test_walk(golden):
    for case in golden("psa_walk"):
        size, keys = tuple(int(side) for side in case["size"]), case["keys"]
        features = case.tensor("feature")[0]
        settings = psa.PsaSettings(
            radius=float(case["radius"]), alpha=float(case["alpha"]), beta=float(case["beta"]),
            steps=2 ** int(case["log_t"]), all_pairs=False,
        )  # fmt: skip
        planes = psa.block_means(psa.add_background(case.tensor("cam"), settings.alpha))  # (n + 1, h, w)
        rows = [0, *(keys + 1)]
        pooled = np.zeros_like(case["pooled"])
        pooled[rows] = planes.cpu().numpy()
        near(case, "pooled", pooled)

        walked = psa.psa_walk(planes, features, settings)
        whole = np.zeros_like(case["walked"])
        whole[rows] = walked.cpu().numpy()
        case.matches("walked", whole, rtol=1e-3, atol=1e-4)
        labels = np.array(rows)[psa.largest_plane(walked, size).cpu().numpy()]
        assert (labels == case["label_map"]).mean() >= 0.999

        # The dense matrix, for the comparison alone: one step from each pixel, columns not yet divided.
        n = features.shape[1] * features.shape[2]
        pairs = psa.walk_pairs(features, settings.radius, all_pairs=False)
        once = walk_along(torch.eye(n).view(n, *features.shape[1:]), pairs, 1.0, 1).flatten(1)
        near(case, "affinity_matrix", once / once.diagonal())
