"""Merges the boxes of an image's detectors, after each of them. See `windmill work --help`."""

import sys

from windmill.cli import main

sys.exit(main(["work", "bbox_merger", *sys.argv[1:]]))
