"""The glass box: what the two transports ask of the inside of a model, and its answers."""
