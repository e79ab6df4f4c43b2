"""The n-gram model: counting, Kneser-Ney smoothing, pruning, evaluation, ARPA export."""
