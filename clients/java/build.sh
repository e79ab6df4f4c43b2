#!/bin/sh
# Generates the stubs and compiles StreamWords.java into a folder; then it is run by
#   java -cp "FOLDER:$JARS" StreamWords "Once upon a time"
#
#   clients/java/build.sh FOLDER
#
# JARS holds gRPC's and protobuf's jars (io.grpc: grpc-netty, grpc-protobuf, grpc-stub and what they
# need). By default they are Debian's: apt-get install default-jdk-headless libgrpc-java
# libprotobuf-java libnetty-java protobuf-compiler protobuf-compiler-grpc-java-plugin
set -eu
[ $# = 1 ] || { echo "give one folder to build into" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
jars=${JARS:-$(sh "$here/debian_jars.sh")}
mkdir -p "$1/stubs"
protoc --proto_path="$here/../../proto" --java_out="$1/stubs" --grpc-java_out="$1/stubs" \
    --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" \
    nextword/v1/text_generation.proto nextword/v1/token_inspection.proto
javac -nowarn -proc:none -encoding UTF-8 -d "$1" -cp "$jars" \
    "$here/StreamWords.java" "$1"/stubs/nextword/v1/*.java
