"""`python -m nextword` is the command `nextword`."""

from nextword.command_line import main

if __name__ == "__main__":
    main()
