"""Sharpness-aware training inside the Hugging Face `Trainer`."""
