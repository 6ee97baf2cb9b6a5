"""What a model is trained and judged on: tasks, their data and their metrics."""
