"""Tokens in, tokens out: scheduler, runner and sampler behind one synchronous `Engine.step()`."""
