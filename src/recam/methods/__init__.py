"""The methods: one paper, one file, pure functions on tensors that any model can use."""

from recam.methods import cam, recam, thresholds

__all__ = ["cam", "recam", "thresholds"]
