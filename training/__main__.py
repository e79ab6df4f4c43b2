"""``python -m training`` is ``nextword-train``."""

from training.command_line import main

if __name__ == "__main__":
    main()
