"""Proof that nothing is lost, duplicated or wrong, whatever dies: `python -m chaos` (docs/reliability.md)."""
