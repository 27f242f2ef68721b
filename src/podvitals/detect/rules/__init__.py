"""Rules: what signals mean. Data in the .toml files beside this one, one table a family, overridden by an operator's file.

`rule.py` says what a rule is, `load.py` reads and checks the files, `positions.py` finds the line and column of a mistake.
"""
