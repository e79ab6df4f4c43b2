"""The offline job: from text to a tokenizer and a trained model, published as one artifact."""
