"""The kinds of stage that a run is made of, a file each: what each is given, and what it makes of it."""
