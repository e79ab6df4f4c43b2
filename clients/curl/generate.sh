#!/bin/sh
# Asks for a whole continuation at once, with a seed, and prints the JSON answer.
#   clients/curl/generate.sh [http://127.0.0.1:8000]
set -eu
server=${1:-http://127.0.0.1:8000}
curl --silent --show-error --fail-with-body "$server/v1/generate" \
    --header 'Content-Type: application/json' \
    --data '{"prompt": "Once upon a time", "max_tokens": 20, "temperature": 0.8, "top_k": 50, "seed": 7}'
echo
