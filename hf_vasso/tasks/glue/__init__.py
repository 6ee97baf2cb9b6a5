"""GLUE: the tasks, their data, models and metrics, and the commands `hf-vasso glue` and `hf-vasso submit`."""
