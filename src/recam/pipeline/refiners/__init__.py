"""The refiners that come with the package: a file each, entered in the registry when this package is imported."""

from recam.pipeline.refiners import advcam, edam, irn, planes

__all__ = ["advcam", "edam", "irn", "planes"]
