"""Feature encoders: the common part in `backbone`, the registry of families in `family`, and one file per family."""

from recam.models.backbones.backbone import Backbone, BackboneSettings
from recam.models.backbones.family import Family, backbones

__all__ = ["Backbone", "BackboneSettings", "Family", "backbones"]
