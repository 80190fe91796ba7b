"""Faces in numbers: age and gender presentation, expression, pose, shape, light. Knows nothing of generators."""

from inversion.attributes.table import ATTRIBUTES, Attribute, attribute, measure

__all__ = ["ATTRIBUTES", "Attribute", "attribute", "measure"]
