"""The page at `/`: files that a browser runs, which use the public API and nothing else."""
