"""`python -m qinn` is the command `qinn`."""

from qinn.cli import main

if __name__ == "__main__":
    main()
