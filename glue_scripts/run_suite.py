"""
python glue_scripts/run_suite.py glue_scripts/suites/glue-small.yaml --jobs 2

Make the runs of a suite, a grid of methods, tasks and seeds from one file: `hf-vasso suite` as a script.
"""

import sys

from hf_vasso.cli import main

if __name__ == "__main__":
    sys.exit(main(["suite", *sys.argv[1:]]))
