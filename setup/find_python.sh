#!/bin/sh
# Prints the Python that the environment is made from: $PYTHON when set, else the first of
# python3.11 to python3.14 that really starts (a version manager's shim can exist and fail) and
# can make an environment. When there is none: one line that says what is missing, exit code 1.
set -u

check='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
without_venv=

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3.11 python3.12 python3.13 python3.14
fi
for candidate in "$@"; do
    "$candidate" -c "$check" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
    without_venv="${without_venv:-$candidate}"
done

if [ -n "$without_venv" ]; then
    version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "Missing: venv of $without_venv. Debian/Ubuntu: sudo apt-get install python$version-venv; macOS: brew install python@$version" >&2
elif [ -n "${PYTHON:-}" ]; then
    echo "Missing: PYTHON=$PYTHON does not start, or is not Python 3.11 to 3.14." >&2
else
    echo "Missing: Python 3.11 to 3.14. Debian/Ubuntu: sudo apt-get install python3 python3-venv; macOS: brew install python@3.13; or name one: make install PYTHON=/path/to/python" >&2
fi
exit 1
