#!/bin/sh
# Continues one text or several at once, as OpenAI's completions do, and prints the JSON answer.
#   clients/curl/completions.sh ["The wolf" "The fox" ...]
# NEXTWORD_SERVER names another server than http://127.0.0.1:8000.
set -eu
server=${NEXTWORD_SERVER:-http://127.0.0.1:8000}
[ $# -gt 0 ] || set -- "Once upon a time"

# JSON wants quotes, backslashes, tabs and line ends escaped.
json_string() {
    tab=$(printf '\t')
    printf '%s' "$1" | tr '\r' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g; s/'"$tab"'/\\t/g' |
        awk 'BEGIN { printf "\"" } NR > 1 { printf "\\n" } { printf "%s", $0 } END { printf "\"" }'
}

prompts=
for prompt in "$@"; do
    prompts="$prompts${prompts:+, }$(json_string "$prompt")"
done
curl --silent --show-error --fail-with-body "$server/v1/completions" \
    --header 'Content-Type: application/json' \
    --data "{\"prompt\": [$prompts], \"max_tokens\": 20, \"temperature\": 0.8, \"seed\": 7}"
echo
