"""The methods: one paper, one file, pure functions on tensors that any model can use."""

from recam.methods import advcam, cam, crf, irn, pamr, recam, refine, saliency, thresholds

__all__ = ["advcam", "cam", "crf", "irn", "pamr", "recam", "refine", "saliency", "thresholds"]
