"""What training and serving share: the network, the tokenizer and the artifact format.

Importing this package imports no torch: ``config``, ``tokenizer``, ``artifact`` and ``ngram`` are
torch-free, ``transformer``, ``kv_cache``, ``weights`` and ``generate`` are not.
"""
