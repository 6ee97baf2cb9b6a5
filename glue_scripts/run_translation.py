"""
python glue_scripts/run_translation.py --config translation/multi30k-small --data_dir multi30k.de-en

Train a translation model with a sharpness-aware method: `hf-vasso translate` as a script, for launchers such as
`accelerate launch --config_file glue_scripts/accelerate_configs/ddp.yaml glue_scripts/run_translation.py ...`.
"""

import sys

from hf_vasso.cli import main

if __name__ == "__main__":
    sys.exit(main(["translate", *sys.argv[1:]]))
