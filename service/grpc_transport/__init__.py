"""gRPC over HTTP/2 on the event loop: what grpc.aio is to handlers, without a thread.

Specification: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""
