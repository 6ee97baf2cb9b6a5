"""Translation: the corpora, their words, batches and models, BLEU, and the command `hf-vasso translate`."""
