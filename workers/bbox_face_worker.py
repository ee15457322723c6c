"""Faces in the merged boxes of people. See `windmill work --help`."""

import sys

from windmill.cli import main

sys.exit(main(["work", "bbox_face", *sys.argv[1:]]))
