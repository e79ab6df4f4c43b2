#!/bin/sh
# Prints the next words of a text as the server makes them.
#   clients/curl/stream_words.sh ["Once upon a time"] [http://127.0.0.1:8000]
# NEXTWORD_PARAMETERS holds others than these, and what else a request may say, as JSON fields:
# '"max_tokens": 60, "timeout_seconds": 5'. Ctrl-C cancels the request.
set -eu
prompt=${1:-Once upon a time}
server=${2:-http://127.0.0.1:8000}
parameters=${NEXTWORD_PARAMETERS:-'"temperature": 0.8, "top_k": 50'}
# JSON wants quotes, backslashes, tabs and line ends escaped.
tab=$(printf '\t')
escaped=$(printf '%s' "$prompt" | tr '\r' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g; s/'"$tab"'/\\t/g' |
    awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')
exec curl --silent --show-error --no-buffer --fail-with-body "$server/v1/generate" \
    --header 'Content-Type: application/json' \
    --data "{\"prompt\": \"$escaped\", $parameters, \"stream\": true}"
