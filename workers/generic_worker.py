"""One service's worker: SERVICE_NAME=blip, or the name as argument. See `windmill work --help`."""

import sys

from windmill.cli import main

sys.exit(main(["work", *sys.argv[1:]]))
