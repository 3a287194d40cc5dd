"""What a stage is, and what it is given to work with."""
