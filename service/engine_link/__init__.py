"""The front's side of the engine process: started, spoken to, watched, counted. Torch-free."""
