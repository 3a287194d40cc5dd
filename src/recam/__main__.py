"""``python -m recam``, and so ``torchrun -m recam``."""

from recam.cli import main

if __name__ == "__main__":
    main()
