"""The commands of `windmill`: one module each, with `HELP`, `add_arguments` and `run`."""
