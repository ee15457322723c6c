"""Windmill: turns piles of images into a database that one can query."""
