"""Written by `make proto` from ../proto. Only convert.py imports it."""
