"""How good consensus labels are, and whether their probabilities can be believed: `windmill eval votes`."""
