"""Models from elsewhere and to elsewhere: GGUF files in and out, and a folder's whole check.

Only this room knows the package ``gguf``, which is an extra.
"""
