"""The REST transport: HTTP messages in and out of the core, nothing else."""
