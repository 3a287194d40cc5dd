"""Importing this enters the built-in kinds of data set into the registry."""

from recam.data import coco, folder, scenes, voc  # noqa: F401
