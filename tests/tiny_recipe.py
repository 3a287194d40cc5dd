"""Settings with which tests run recipe ``tiny``, and its scenes drawn once."""

from functools import lru_cache

from recam.scenes import catalog

TINY = {
    "data.location": "scenes:",
    "data.options": {"seed": 6, "size": 64, "train": 12, "val": 4},
    "data.on_problems": "skip",
    "compute.workers": 0,
    # The smallest network that timm has, with the five levels and the strides of a ResNet.
    "backbone.name": "test_resnet",
    "segment.encoder": "tu-test_resnet",
    # Drawing figures takes longer than all the rest; tests of the report ask for it.
    "compute.report": False,
}
"""Settings that make recipe ``tiny`` end in seconds."""

SMALL_IRN = {"irn.labels_by": "pamr", "irn.crop": 96, "irn.epochs": 1, "irn.batch": 4, "irn.steps": 8}
"""Settings that have IRN end in seconds on its images, without the extra crf."""


def keep_scenes() -> None:
    """Has this process draw each scene once: a run reads each a dozen times, and in tests most of its time goes by
    drawing them. (A user's run has hundreds, too many to keep.)"""
    catalog._drawn = lru_cache(maxsize=64)(catalog._drawn.__wrapped__)
