"""The command line: the only part of photoage that prints and exits."""
