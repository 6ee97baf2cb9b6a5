"""
python glue_scripts/run_glue.py --config glue/rte-vasso --model_name_or_path bert-base-cased

Fine-tune a model on a GLUE task with a sharpness-aware method: `hf-vasso glue` as a script, for launchers such as
`accelerate launch --config_file glue_scripts/accelerate_configs/ddp.yaml glue_scripts/run_glue.py ...`.
"""

import sys

from hf_vasso.cli import main

if __name__ == "__main__":
    sys.exit(main(["glue", *sys.argv[1:]]))
