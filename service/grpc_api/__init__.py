"""The gRPC transport: protobuf messages in and out of the core, nothing else."""
