"""Recipes that come with the package, and what a recipe means that names no training."""

TRAINING = "recam"
COMPARE = ("cam",)
NAME = "auto"
"""The recipe that is followed where none is named."""
