"""Settings with which tests run recipe ``tiny``."""

TINY = {
    "data.location": "scenes:",
    "data.options": {"seed": 6, "size": 64, "train": 12, "val": 4},
    "data.on_problems": "skip",
    "compute.workers": 0,
    # Drawing figures takes longer than all the rest; tests of the report ask for it.
    "compute.report": False,
}
"""Settings that make recipe ``tiny`` end in seconds."""

SMALL_IRN = {"irn.labels_by": "pamr", "irn.crop": 96, "irn.epochs": 1, "irn.batch": 4, "irn.steps": 8}
"""Settings that have IRN end in seconds on its images, without the extra crf."""
