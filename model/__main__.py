"""``python -m model`` is ``nextword-model``."""

from model.exchange.command_line import main

if __name__ == "__main__":
    main()
