"""`python -m photoage`: the same as the program `photoage`."""

from photoage.cli import main

# Worker processes of a scan import this module under another name.
if __name__ == "__main__":
    main()
