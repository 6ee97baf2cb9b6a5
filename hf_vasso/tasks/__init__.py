"""What a model is trained and judged on. A folder for each kind of task; beside them what all kinds share."""
