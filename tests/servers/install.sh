#!/bin/sh
# Installs the servers that the tests start for themselves, and the browser that they look with, where they
# are missing (Debian, Ubuntu); with the word `java`, the Java that Spark needs instead.
set -eu

PATH=$PATH:/usr/sbin:/sbin  # an ordinary user's PATH on Debian lacks them

packages=
if [ "${1-}" = java ]; then
    command -v java >/dev/null 2>&1 || [ -x "${JAVA_HOME-}/bin/java" ] || packages=" default-jre-headless"
else
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages="$packages rabbitmq-server"
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || packages="$packages postgresql"
    command -v mariadbd >/dev/null 2>&1 || packages="$packages mariadb-server"
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 \
        || packages="$packages chromium"
fi
[ -n "$packages" ] || exit 0

install="apt-get update && apt-get install -y --no-install-recommends$packages"
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests need what is missing here:$packages" >&2
    echo "Install them as root, and call make again: $install" >&2
    echo "(Without them, \`.venv/bin/pytest\` skips what needs them.)" >&2
    exit 1
fi

# These packages start their services as they are installed: a second server of each kind, on the
# well-known ports and at every boot, which nobody asked for. Debian asks policy-rc.d first; 101 forbids.
# One that is there already belongs to the machine: it stays as it is.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

$as_root apt-get update -q
# shellcheck disable=SC2086  # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $packages
