"""Votes over all replies about an image, after each of them. See `windmill work --help`."""

import sys

from windmill.cli import main

sys.exit(main(["work", "consensus", *sys.argv[1:]]))
