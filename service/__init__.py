"""The serving side: one core that continues texts, under a REST and a gRPC transport."""
