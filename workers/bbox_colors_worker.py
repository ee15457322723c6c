"""Colours of every merged box. See `windmill work --help`."""

import sys

from windmill.cli import main

sys.exit(main(["work", "bbox_colors", *sys.argv[1:]]))
