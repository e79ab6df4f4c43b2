#!/bin/sh
# Prints the messages of a continuation over gRPC as the server makes them; the server describes
# itself, so that no proto file is needed.
#   clients/grpcurl/stream_words.sh ["Once upon a time"] [127.0.0.1:50051]
# NEXTWORD_PARAMETERS holds sampling parameters as JSON fields: '"max_tokens": 60, "seed": 7'.
# NEXTWORD_SECONDS is the deadline. Ctrl-C cancels the request.
set -eu
prompt=${1:-Once upon a time}
server=${2:-127.0.0.1:50051}
# JSON wants quotes, backslashes, tabs and line ends escaped.
tab=$(printf '\t')
escaped=$(printf '%s' "$prompt" | tr '\r' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g; s/'"$tab"'/\\t/g' |
    awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')
exec grpcurl -plaintext -max-time "${NEXTWORD_SECONDS:-600}" \
    -d "{\"prompt\": \"$escaped\", \"parameters\": {${NEXTWORD_PARAMETERS:-}}}" \
    "$server" nextword.v1.TextGenerationService/StreamGenerateText
