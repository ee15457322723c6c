"""Who works, who is silent, what is queued. See `monitor_workers.py --help`."""

import sys

from windmill.cli import main

sys.exit(main(["monitor", *sys.argv[1:]]))
