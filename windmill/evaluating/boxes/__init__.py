"""How good merged boxes are, where the truth is known: `windmill eval boxes`."""
