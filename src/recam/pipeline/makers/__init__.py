"""Map makers, a file each; all of them are entered in the registry when it is first asked."""
