"""The commands, a file for each family; `cli.py` names them all. Each calls one function and tells what came of it."""
