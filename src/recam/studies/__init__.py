"""Studies: tables of runs, a file each; a comparison is several runs, which find each other's finished stages."""
