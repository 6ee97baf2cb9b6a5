"""Make a run and list what it imports: a module of its own, since a new process imports it before it looks."""

import json
import pickle
import sys
from pathlib import Path


def list_imports(pickled_job: bytes, out: Path) -> None:
    """Make the run of a job, which is pickled since to read it imports the suite, and write what that has imported."""
    before = set(sys.modules)
    job = pickle.loads(pickled_job)
    from hf_vasso.suite.work import work

    work(job, None, "here")
    out.write_text(json.dumps(sorted(set(sys.modules) - before)))
