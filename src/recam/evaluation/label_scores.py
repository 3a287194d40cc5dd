"""How well image labels are predicted for images that a classifier has not learned from: the judge that needs no mask.

Average precision after Salton and McGill as PASCAL VOC has used it since 2010: the mean of the precision at the rank of
each image that shows the class; images of equal score share the worst of their ranks, so a constant score earns the
share of the class and no more.

Letters: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError
from recam.evaluation.ious import mean_over_present

SHUFFLES = 200
"""Random orders of the labels that a score is compared with."""
BY_CHANCE = 0.01
"""Share of them that may score as well, for scores that are taken to be better than chance."""


@dataclass(frozen=True)
class LabelScores:
    """Scores of predicted image labels.

    Attributes:
        names: the K classes.
        ap: average precision of each, in [0, 1]; NaN where no image shows it.
        f1: F1 of each at the score 0 (probability ½); NaN where no image shows it.
        share: share of the images that show it, which is what ranking at random earns.
        images: N.
        p_value: share of random orders of the labels whose mean AP is as high; 1 where nothing can be ranked.
    """

    names: tuple[str, ...]
    ap: tuple[float, ...]
    f1: tuple[float, ...]
    share: tuple[float, ...]
    images: int
    p_value: float

    @property
    def mean_ap(self) -> float:
        """mAP, over the classes that some image shows; NaN where none does."""
        return float(mean_over_present(np.array(self.ap)))

    @property
    def chance(self) -> float:
        """What ranking at random earns as mAP."""
        known = np.isfinite(self.ap)
        return float(np.mean(np.array(self.share)[known])) if known.any() else float("nan")

    @property
    def is_learned(self) -> bool:
        """Whether the scores are better than chance."""
        return self.p_value <= BY_CHANCE

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, None for NaN."""
        classes = {
            name: {"ap": _finite(ap), "f1": _finite(f1), "share": share}
            for name, ap, f1, share in zip(self.names, self.ap, self.f1, self.share, strict=True)
        }
        means = {"map": _finite(self.mean_ap), "f1": _finite(float(mean_over_present(np.array(self.f1))))}
        judged = {"chance": _finite(self.chance), "p_value": self.p_value, "is_learned": self.is_learned}
        return {**means, **judged, "images": self.images, "classes": classes}


def part_learned(labels: Mapping[str, Any]) -> float:
    """How far mAP has come from chance to perfect, in [0, 1], of scores as `LabelScores.as_dict` gives them; 0 where
    nothing was judged."""
    score: float | None = labels.get("map")
    chance: float | None = labels.get("chance")
    if score is None or chance is None or chance >= 1:
        return 0.0
    return max(0.0, (score - chance) / (1 - chance))


def score_labels(scores: NDArray[np.floating], labels: NDArray[Any], names: tuple[str, ...]) -> LabelScores:
    """Scores of predictions.

    Args:
        scores: (N, K), logits or whatever is higher the more a class is believed to be there, 0 for undecided.
        labels: (N, K) in {0, 1}.
        names: the K classes.

    Raises:
        DataError: shapes that do not fit, or scores that are not finite.
    """
    found, shown = np.asarray(scores, np.float64), np.asarray(labels) > 0
    if found.shape != shown.shape or found.ndim != 2 or found.shape[1] != len(names):
        raise DataError(f"scores {found.shape} do not fit labels {shown.shape} of {len(names)} classes.")
    if not np.isfinite(found).all():
        raise DataError("scores hold NaN or inf, as those of a network that diverged. Lower the learning rate.")
    ap = _average_precisions(found, shown)
    predicted = found > 0
    hits, both = (predicted & shown).sum(0), predicted.sum(0) + shown.sum(0)  # (K,)
    f1 = np.where(shown.any(0), 2 * hits / np.maximum(both, 1), np.nan)
    share = shown.mean(0) if len(shown) else np.zeros(len(names))
    return LabelScores(names, tuple(ap), tuple(f1), tuple(share), len(shown), _p_value(found, shown, ap))


def average_precision(scores: NDArray[np.floating], shown: NDArray[np.bool_]) -> float:
    """Average precision of N scores; NaN where no image shows the class.

    Args:
        scores: (N,).
        shown: (N,) whether the image shows the class.
    """
    if not shown.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], shown[order].cumsum()  # (N,)
    # Images of equal score stand at the last rank of theirs: no order among them is better than another.
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # (N,)
    precision = hits[last] / (last + 1)
    return float(precision[shown[order]].mean())


def _average_precisions(scores: NDArray[np.float64], shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([average_precision(scores[:, k], shown[:, k]) for k in range(scores.shape[1])])


def _p_value(scores: NDArray[np.float64], shown: NDArray[np.bool_], ap: NDArray[np.float64]) -> float:
    """Labels shuffled whole rows at a time, which keeps how often classes occur and occur together."""
    if not np.isfinite(ap).any() or (shown == shown[:1]).all():
        return 1.0
    rng, found = np.random.default_rng(0), mean_over_present(ap)
    better = sum(
        mean_over_present(_average_precisions(scores, shown[rng.permutation(len(shown))])) >= found
        for _ in range(SHUFFLES)
    )
    return float((better + 1) / (SHUFFLES + 1))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
