"""Losses of the segmentation model, a file each; all of them are entered in the registry at its first look-up."""
