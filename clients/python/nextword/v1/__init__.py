"""Version 1 of the gRPC interface, generated from proto/nextword/v1 by `make proto`."""
