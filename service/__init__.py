"""The running service: one core under two transports, and the engine it drives."""
