#!/bin/sh
# Prints the class path of gRPC as Debian's packages install it; fails where one is missing.
set -eu
path=
for name in grpc-api grpc-context grpc-core grpc-netty grpc-protobuf grpc-protobuf-lite grpc-stub \
        protobuf guava geronimo-annotation-1.3-spec perfmark-api \
        netty-buffer netty-codec netty-codec-http netty-codec-http2 netty-codec-socks netty-common \
        netty-handler netty-handler-proxy netty-resolver netty-transport; do
    jar=/usr/share/java/$name.jar
    [ -f "$jar" ] || { echo "$jar is not installed" >&2; exit 1; }
    path=$path${path:+:}$jar
done
echo "$path"
