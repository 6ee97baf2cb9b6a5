"""Suites: a grid of methods, tasks and seeds from one file, run in parallel and continued when it is repeated."""
