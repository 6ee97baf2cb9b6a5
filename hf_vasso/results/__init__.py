"""What a run leaves behind and how it is read: records, statistics and tables, without torch or transformers."""
