#!/bin/sh
# Starts and stops this box's workers: ./workers.sh start|stop|restart|status [WORKER [COUNT]]
cd "$(dirname "$0")" || exit 2
python=.venv/bin/python
if [ ! -x "$python" ]; then
    python=python3
    "$python" -c 'import rich, supervisor' 2>/dev/null || {
        echo "workers.sh: Windmill is not installed here: make venv && .venv/bin/pip install -e ." >&2
        exit 2
    }
fi
exec "$python" -m windmill workers "$@"
