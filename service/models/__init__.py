"""Which models are served: found in the store, loaded, chosen by name, replaced. Torch-free."""
