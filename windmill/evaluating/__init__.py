"""How well services do on photos of which the truth is known: `windmill eval services`."""
