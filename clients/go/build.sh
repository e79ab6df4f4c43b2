#!/bin/sh
# Generates the stubs and builds FOLDER/stream_words.
#
#   clients/go/build.sh FOLDER
#
# On Debian from the system's packages: apt-get install golang-go golang-google-grpc-dev
# golang-google-protobuf-dev protobuf-compiler protoc-gen-go protoc-gen-go-grpc
# Elsewhere gRPC comes as a Go module, by the network; protoc and its plugins are yours to install.
set -eu
[ $# = 1 ] || { echo "give one folder to build into" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/src/nextword"
folder=$(cd "$1" && pwd)
protoc --proto_path="$here/../../proto" --go_out="$folder/src" --go-grpc_out="$folder/src" \
    nextword/v1/text_generation.proto nextword/v1/token_inspection.proto
cp "$here"/*.go "$folder/src/nextword/"
cd "$folder/src/nextword"
if [ -d /usr/share/gocode/src/google.golang.org/grpc ]; then
    GO111MODULE=off GOPATH="$folder:/usr/share/gocode" \
        go build -tags old_grpc -o "$folder/stream_words" nextword
else
    [ -f go.mod ] || go mod init nextword
    go mod tidy
    go build -o "$folder/stream_words" .
fi
