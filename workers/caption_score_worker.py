"""Scores captions against their images. See `windmill work --help`."""

import sys

from windmill.cli import main

sys.exit(main(["work", "caption_score", *sys.argv[1:]]))
