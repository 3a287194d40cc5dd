"""Masks and predictions as objects of other Python packages; a small file each."""
