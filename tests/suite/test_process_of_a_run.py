"""What a run costs beside its training: its process begins with all that it needs imported."""

import json
import multiprocessing
import pickle

from imports_of_a_run import list_imports

from hf_vasso.suite.planning import grid_runs
from hf_vasso.suite.processes import start_server
from hf_vasso.suite.suite_file import read_suite_file
from hf_vasso.suite.work import Job


def test_a_run_finds_its_packages_imported(write_suite, tmp_path):
    run = grid_runs(read_suite_file(write_suite(methods=["sam"], seeds=[0])), {})[0]
    job = Job(run.planned, tmp_path / "runs" / run.planned.folder, run.words, tmp_path, threads=1)
    start_server(threads=1)
    arguments = (pickle.dumps(job), tmp_path / "imported.json")
    process = multiprocessing.get_context("forkserver").Process(target=list_imports, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0, (job.folder / "log.txt").read_text()
    imported = json.loads((tmp_path / "imported.json").read_text())
    assert [name for name in imported if "." not in name] == []  # no package
    assert len(imported) < 20  # a few modules of packages that are there
