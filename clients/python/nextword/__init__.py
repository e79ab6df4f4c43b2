"""What programs need to talk to a Nextword server; `nextword.v1` holds the gRPC messages."""
