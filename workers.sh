#!/bin/sh
# Starts and stops this box's workers: ./workers.sh start|stop|restart|status [WORKER [COUNT]]
cd "$(dirname "$0")" || exit 2
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m windmill workers "$@"
