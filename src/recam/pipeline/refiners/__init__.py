"""Refiners' places in a run, a file each."""
