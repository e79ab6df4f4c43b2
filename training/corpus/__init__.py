"""From the files a user has to documents to learn from and documents to measure on."""

from training.corpus.corpus import Corpus, CorpusStatistics, load_corpus
from training.corpus.document import CorpusError, Document
from training.corpus.settings import CorpusSettings
from training.corpus.splitting import SplitName

__all__ = [
    "Corpus",
    "CorpusError",
    "CorpusSettings",
    "CorpusStatistics",
    "Document",
    "SplitName",
    "load_corpus",
]
